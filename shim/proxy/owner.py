"""Who may share a published TCP port with the shim that holds it: Envoy, and nobody else on the host.

With SO_REUSEADDR on both sides the kernel lets any user's socket be bound beside another that does not
listen, and listen there.  With SO_REUSEPORT in place of that it asks who the owners are: a socket's is the
user that made it, until ``fchown``.  So the shim gives its port to Envoy's user, whom the registrar knows.

On the start-up path of every port: nothing is imported that a bare interpreter has not loaded already.
"""

import _socket
import posix

from shim.wire.words import OWNER_SUFFIX

EADDRINUSE = 98  # Linux's; the errno module is not loaded in a bare interpreter
# An IPv4 address that an IPv6 socket is bound to, in /proc.
_MAPPED = "0000000000000000FFFF0000"


def keep_from_others(sock: "_socket.socket") -> None:
    """From here on the kernel lets nobody else bind or listen on the port but its owner: root, so far.

    Two sockets with SO_REUSEPORT may share a port if they are the same user's.
    """
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)


def check_that_nobody_is_there(sock: "_socket.socket") -> None:
    """Raises OSError if somebody takes what comes to a socket of ours that was bound with SO_REUSEADDR.

    After keep_from_others nobody can begin to.
    """
    if sock.type == _socket.SOCK_DGRAM:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 0)  # not even root's beside it
        _check_datagrams(sock)
        return
    # Who listens shows when another socket is bound: one that may share the port with all who do not.
    probe = _socket.socket(sock.family, sock.type)
    probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if sock.family == _socket.AF_INET6:
        probe.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
    probe.bind(sock.getsockname())
    probe.close()


def _check_datagrams(sock: "_socket.socket") -> None:
    """Among UDP sockets on a port the kernel prefers the one with the more specific address, then the last.

    /proc has them as lines: the second word is address and port in hexadecimal digits, the tenth the inode.
    """
    own, others = "", []
    port = b":%04X" % sock.getsockname()[1]
    for table in ("udp", "udp6"):
        try:
            with open("/proc/self/net/" + table, "rb") as file:
                lines = [line for line in file if port in line]
        except OSError:  # no IPv6 here
            continue
        for line in lines:
            words = line.decode().split()
            address, _, its_port = words[1].partition(":")
            if int(words[9]) == posix.fstat(sock.fileno()).st_ino:
                own = address
            elif its_port == port[1:].decode():
                others.append(address)
    for other in others:
        if own and len(other) > len(own) and other.startswith(_MAPPED):
            other = other[len(_MAPPED) :]
        if len(other) == len(own) and (other == own or not own.strip("0")):
            raise OSError(EADDRINUSE, "shared")


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
