"""Which user may share a published TCP port with the shim that holds it: Envoy's, and no other.

With SO_REUSEADDR on both sides the kernel lets any user's socket be bound beside another that does not
listen, and listen there.  With SO_REUSEPORT in its place both sockets need the same owner: the user that
made it, until ``fchown``.  So the shim gives its port to Envoy's user, whose id the registrar knows.

On the start-up path of every port: nothing is imported that a bare interpreter has not loaded already.
"""

import _socket
import posix

from shim.wire.words import OWNER_SUFFIX


def keep_from_others(sock: "_socket.socket", kind: int) -> None:
    """Let no other socket be bound to this port, but (TCP) those of its owner, which is root so far.

    Two sockets with SO_REUSEPORT may share a port if they have the same owner.
    """
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)
    if kind == _socket.SOCK_STREAM:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)


def check_that_nobody_listens(sock: "_socket.socket", address: "tuple[str, int]") -> None:
    """Raise OSError if another program began to listen between this socket's bind and ``keep_from_others``.

    A probe that may share the port with any socket that does not listen can be bound only if none does.
    """
    probe = _socket.socket(sock.family, sock.type)
    for level, option in (
        (_socket.SOL_SOCKET, _socket.SO_REUSEADDR),
        (_socket.SOL_SOCKET, _socket.SO_REUSEPORT),
        (_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY),
    ):
        if level == _socket.SOL_SOCKET or sock.family == _socket.AF_INET6:
            probe.setsockopt(level, option, 1)
    probe.bind(address)
    probe.close()


def give_to_envoy(sock: "_socket.socket", registrar: bytes) -> bool:
    """Make Envoy's user the port's owner; returns whether a registrar that knows of owners has run here.

    Where that registrar does not know Envoy's user yet, it tells the parked shim later.
    """
    try:
        owner = posix.readlink(registrar + OWNER_SUFFIX.encode())
    except OSError:
        return False
    try:
        posix.fchown(sock.fileno(), int(owner), -1)
    except (OSError, ValueError, OverflowError):
        pass
    return True


def share_with_all(fd: int) -> None:
    """Share the port with every user, for a registrar of an older version, which tells no shim its owner."""
    port = _socket.socket(fileno=posix.dup(fd))
    port.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    port.close()
