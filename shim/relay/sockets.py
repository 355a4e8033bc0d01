"""A flow's socket; socket options that the relay needs or would like to have, and errors it lives with."""

import errno
import socket

from shim.core.binding import Backend
from shim.relay.envelope import SOL_UDP, UDP_SEGMENT, Envelope, Layout
from shim.relay.flows import Flow

HOST_BUFFER = 4 << 20  # bytes asked for in each direction: every client's datagrams pass here
FLOW_BUFFER = 1 << 20
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

# Receiving can fail with these without anything being wrong with the socket: nothing is there, or
# an ICMP message told of an earlier datagram's fate.
PASSING = frozenset(
    (
        errno.EAGAIN,
        errno.EINTR,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENONET,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EMSGSIZE,
        errno.EACCES,
        errno.EPERM,
    )
)

NO_PORT = errno.EAGAIN  # what connecting fails with where all ephemeral ports are taken
# The same, and where there is no file left: to end another flow would help.
NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, NO_PORT))


class ClientFlow(Flow):
    """A client's connected socket, and what its replies are sent in."""

    __slots__ = ("envelope", "fd", "receive", "send", "sock")

    def __init__(self, key: bytes, sock: socket.socket, envelope: Envelope) -> None:
        super().__init__(key)
        self.sock = sock
        self.fd = sock.fileno()
        self.receive, self.send = sock.recv_into, sock.send
        self.envelope = envelope


def connected(family: socket.AddressFamily, address: Backend) -> socket.socket:
    """A flow's socket.  Raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        enlarge(sock, FLOW_BUFFER)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket, layout: Layout) -> None:
    """Set the host socket up for relaying: non-blocking, with local addresses told and large buffers."""
    sock.setblocking(False)
    try:
        sock.setsockopt(*layout.option(), 1)
    except OSError:
        pass  # replies then leave from whatever address the system picks
    enlarge(sock, HOST_BUFFER)


def enlarge(sock: socket.socket, size: int) -> None:
    """Ask for larger buffers: beyond the system's limit if allowed to, else up to it."""
    for force, option in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        for name in (force, option):
            try:
                sock.setsockopt(socket.SOL_SOCKET, name, size)
                break
            except OSError:
                continue


def can_segment(sock: socket.socket) -> bool:
    """Whether the kernel knows UDP_SEGMENT: one that does not would send all in one datagram."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
