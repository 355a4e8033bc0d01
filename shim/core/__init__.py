"""Pure logic: no sockets, files, environment, clock, logging or trio.

Time comes in as an argument (seconds on a monotonic clock), results go out as values.
"""
