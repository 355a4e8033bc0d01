"""The user at the other end of a connection from this host, by the kernel's word."""

import socket
import struct
from typing import NamedTuple, Protocol

import trio

from shim.core.endpoint import Endpoint

# <linux/sock_diag.h>, <linux/inet_diag.h>
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = (0xFFFFFFFF, 0xFFFFFFFF)
# struct inet_diag_msg: four bytes, then ports, addresses and so on (48), three numbers, and the user's id.
_UID_OFFSET = _HEADER.size + 4 + 48 + 12

UNKNOWN = -1

_CREDENTIALS = struct.Struct("3i")  # struct ucred


class Credentials(NamedTuple):
    """The process that connected to a Unix socket, or listens on it.  ``pid`` 0: in another pid namespace."""

    pid: int
    uid: int
    gid: int


class HasOptions(Protocol):
    """A socket of the standard library's or of trio's."""

    def getsockopt(self, level: int, option: int, length: int, /) -> bytes:
        """As the standard library's, with ``length`` in bytes.  Raises OSError."""


def credentials_of(sock: HasOptions) -> Credentials:
    """SO_PEERCRED (unix(7)): as of the moment when the peer connected, or listened.  Raises OSError."""
    answer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Credentials(*_CREDENTIALS.unpack(answer))


def user_of(stream: trio.abc.Stream) -> int:
    """The user whose process opened the connection; UNKNOWN: it is from another host, or closed."""
    if not isinstance(stream, trio.SocketStream):
        return UNKNOWN
    sock = stream.socket
    try:
        if sock.family == socket.AF_UNIX:
            return credentials_of(sock).uid
        return _owner(sock.family, sock.getpeername(), sock.getsockname())
    except (OSError, ValueError, struct.error):
        return UNKNOWN


def owner_of_listener(endpoint: Endpoint) -> int:
    """The user whose socket listens there; UNKNOWN: no socket does, or it is not an address of this host."""
    try:
        if endpoint.path:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                sock.connect(endpoint.path)
                credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                return int(struct.unpack("3i", credentials)[1])
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        nowhere = ("::" if ":" in endpoint.host else "0.0.0.0", 0)
        return _owner(family, (endpoint.host, endpoint.port), nowhere)
    except (OSError, ValueError, struct.error):
        return UNKNOWN


def _owner(family: int, local: tuple[str, int], remote: tuple[str, int]) -> int:
    """The owner of this host's TCP socket with these two ends.  Raises OSError, ValueError, struct.error."""
    question = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _ALL_STATES)
    question += struct.pack("!HH", local[1], remote[1]) + _padded(family, local) + _padded(family, remote)
    question += struct.pack("=III", 0, *_NO_COOKIE)
    head = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        # The kernel answers within the call that asks.
        kernel.setblocking(False)
        kernel.send(head + question)
        answer = kernel.recv(1024)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError("the kernel knows no such socket")
    inode: int
    uid, inode = struct.unpack_from("=II", answer, _UID_OFFSET)
    if not inode:
        # Closed by its owner: the kernel's remains of it have none.
        raise OSError("the socket is closed")
    return int(uid)


def _padded(family: int, address: tuple[str, int]) -> bytes:
    return socket.inet_pton(family, address[0]).ljust(16, b"\0")
