"""What dockerd, shims and the registrar say to each other: flags, words, descriptors, names, timeouts.

The lowest layer: every other package may import it, and it imports nothing.  It is on the start-up path of
every published port.
"""
