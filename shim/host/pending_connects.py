"""Connections of this host that are being made: the kernel's list of them, and their end.

Socket diagnosis (sock_diag(7)), with the layouts of <linux/sock_diag.h> and <linux/inet_diag.h>.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_REQUEST, _ACKNOWLEDGED, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST_FIELDS = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_SYN_SENT = 1 << 2
# struct inet_diag_sockid within struct inet_diag_msg: ports and addresses as in packets, interface, cookie.
_ID = slice(4, 52)
_REMOTE = 20
_ANSWER = 1 << 16  # bytes


def abort_connects(wanted: Callable[[str], bool]) -> int:
    """End the TCP connections that are being made to addresses for which ``wanted`` says so.

    Whoever makes one gets ECONNABORTED.  Returns how many ended.  Raises OSError: without CAP_NET_ADMIN, and
    on kernels without CONFIG_INET_DIAG_DESTROY.
    """
    ended = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        for identity in list(_being_made(family)):
            size = 4 if family == socket.AF_INET else 16
            if wanted(socket.inet_ntop(family, identity[_REMOTE : _REMOTE + size])):
                ended += _end(family, identity)
    return ended


def _being_made(family: int) -> Iterator[bytes]:
    """Their sockets' identities."""
    with _asked(_SOCK_DIAG_BY_FAMILY, _DUMP, family, _SYN_SENT, bytes(48)) as kernel:
        while True:
            answer, at = kernel.recv(_ANSWER), 0
            while at + _HEADER.size <= len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind in (_ERROR, _DONE):
                    # Where the kernel cannot tell, "done" has an error in it.
                    if length > _HEADER.size and (
                        error := struct.unpack_from("=i", answer, at + _HEADER.size)[0]
                    ):
                        raise OSError(-error, "the kernel does not tell of connections")
                    return
                yield answer[at + _HEADER.size : at + length][_ID]
                at += (length + 3) & ~3


def _end(family: int, identity: bytes) -> bool:
    """Whether it was there to be ended."""
    with _asked(_SOCK_DESTROY, _ACKNOWLEDGED, family, 0, identity) as kernel:
        [error] = struct.unpack_from("=i", kernel.recv(_ANSWER), _HEADER.size)
    if error == 0:
        return True
    if -error == errno.ENOENT:  # it was made meanwhile, or given up
        return False
    raise OSError(-error, "the kernel does not end connections")


def _asked(kind: int, flags: int, family: int, states: int, identity: bytes) -> socket.socket:
    """A socket whose next answers are to this; the kernel answers at once."""
    body = _REQUEST_FIELDS.pack(family, socket.IPPROTO_TCP, 0, states) + identity
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    try:
        kernel.setblocking(False)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body)
    except OSError:
        kernel.close()
        raise
    return kernel
