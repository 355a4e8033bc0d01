"""Tells when the kernel's firewall, its routing rules or its routes were changed, by any program."""

import logging
import socket
from collections.abc import Callable

import trio

log = logging.getLogger("envoy-docker-shim")

NETLINK_NETFILTER = 12
NFTABLES_GROUP = 1 << 7 - 1  # NFNLGRP_NFTABLES
# RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE.
ROUTING_GROUPS = 1 << 8 - 1 | 1 << 19 - 1 | 1 << 7 - 1 | 1 << 11 - 1
SO_RCVBUFFORCE = 33
# Bytes.  There is a notice for each element of a set: 10,000 added at once are some megabytes.  The kernel
# takes no memory before notices come.
BUFFER = 32 << 20
MOST = 1 << 16  # bytes of one datagram; the kernel makes them smaller
AT_ONCE = 256  # datagrams before other tasks run


def listen(protocol: int, groups: int) -> socket.socket:
    """A netlink socket that gets these groups' notices.  Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        sock.bind((0, groups))
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    except OSError:
        sock.close()
        raise
    return sock


async def follow(sock: socket.socket, heard: Callable[[bytes], None], missed: Callable[[], None]) -> None:
    """Call ``heard`` with every notice, and ``missed`` where the kernel dropped some.  Does not return."""
    with sock:
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(AT_ONCE):
                try:
                    heard(sock.recv(MOST, socket.MSG_DONTWAIT))
                except BlockingIOError:
                    break
                except OSError as error:  # ENOBUFS: they came faster than they were read
                    log.debug("netlink: %s", error)
                    missed()
                    break
