"""Asks this host what the checks of shim.core.doctor want to know.

Every question has a bound of its own, and they are asked at the same time, so nothing that hangs makes this
hang.
Nothing is changed, no connection is made to a published port or to a container, and nothing is asked of the
network but what is this host's.  ``gather.py`` asks all of it.
"""
