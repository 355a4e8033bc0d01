"""The configuration: the table of its keys, what their values may be, and how it is read."""
