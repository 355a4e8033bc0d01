"""What the kernel tells of this host's processes and sockets, for registrar and commands."""
