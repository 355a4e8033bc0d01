"""What dockerd, shims and the registrar say to each other: flags, words, descriptors, names, timeouts.

The bottom of the house: every other room may import it, and it imports nothing.  It is on the start-up path
of every published port.
"""
