"""What dockerd starts, once per published port and address family: standard library only."""
