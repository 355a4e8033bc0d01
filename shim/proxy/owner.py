"""Who may share a published TCP port with the shim that holds it: Envoy, and nobody else on the host.

With SO_REUSEADDR on both sides the kernel lets any user's socket be bound beside another that does not
listen, and listen there.  With SO_REUSEPORT in place of that it asks who the owners are: a socket's is the
user that made it, until ``fchown``.  So the shim gives its port to Envoy's user, whom the registrar knows.

On the start-up path of every port: nothing is imported that a bare interpreter has not loaded already.
"""

import _socket
import posix

from shim.wire.words import OWNER_SUFFIX


def keep_from_others(sock: "_socket.socket", kind: int) -> None:
    """From here on the kernel lets nobody else bind or listen on a port but (TCP) its owner: root, so far.

    Two sockets with SO_REUSEPORT may share a port if they are the same user's.
    """
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)
    if kind == _socket.SOCK_STREAM:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)


def check_that_nobody_listens(sock: "_socket.socket", address: "tuple[str, int]") -> None:
    """Raises OSError if somebody began to after we had bound beside them, and before they no longer could.

    A socket that may share the port with ours and with all that do not listen shows it when it is bound.
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
    """Make Envoy's user the port's owner; says whether a registrar that knows of owners has been there.

    Where it does not know yet who that is, it tells the parked shim later.
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
    """The registrar is of an older version (an upgrade is under way), and tells nobody who Envoy is."""
    port = _socket.socket(fileno=posix.dup(fd))
    port.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    port.close()
