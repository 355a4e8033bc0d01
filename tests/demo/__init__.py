"""``./build.sh demo``: the main job, shown on this machine, which is left as it was.

``--stay``: until Ctrl-C, with the page to look at it.
"""
