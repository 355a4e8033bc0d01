"""What goes around a datagram: addresses, control messages, keys; and what may be sent as one.

The structures are the kernel's ABI, in its byte order and this machine's word size.
"""

import functools
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from ctypes import c_size_t, sizeof

WORD = sizeof(c_size_t)
NAME = 32  # what an Envelope's name is padded to
# ``struct mmsghdr``: name and length, iov and length, control data and length, flags; bytes received.
_HEADER = "PIPNPNi0PI0P"

SOL_UDP, UDP_SEGMENT = 17, 103
MAX_SEGMENTED = 65_000  # together with headers it must fit into one IP packet
# A datagram above the usual MTU is sent on its own: it is fragmented, which a segment cannot be.
MAX_SEGMENT = 1_472 - 20


class Layout:
    """Where the kernel writes a datagram's client address and local address, and what a key is.

    They lie so that what tells two flows apart is one slice of memory, the key, and what does not
    (the interface) is outside of it.  IPv4: control data, then the ``sockaddr_in``; IPv6: the
    ``sockaddr_in6``, then control data.
    """

    def __init__(self, family: int) -> None:
        head = WORD + 8  # struct cmsghdr
        self.six = family == socket.AF_INET6
        self.name_length = 28 if self.six else 16
        self.control_length = head + (20 if self.six else 12)
        if self.six:  # in6_pktinfo: address, interface
            self.name, self.control = 0, self.name_length
            self.key = slice(0, self.name_length + head + 16)
        else:  # in_pktinfo: interface, local address for replies, address sent to
            self.name, self.control = self.control_length, 0
            self.key = slice(head + 4, self.control_length + self.name_length)
        self.stride = -(-(self.name_length + self.control_length) // 16) * 16

    def option(self) -> tuple[int, int]:
        """The socket option that makes the kernel tell the local address."""
        return (socket.IPPROTO_IPV6, 49) if self.six else (socket.IPPROTO_IP, 8)

    def canonical(self, key: bytes) -> bytes:
        """The same key as if the option above had been set when the datagram came.

        Before, IPv4's local address for replies is missing from what the kernel says.
        """
        return key[4:8] + key[4:] if not self.six and not any(key[:4]) else key

    def envelope(self, key: bytes) -> "Envelope":
        """Where replies to the flow with this key go, and where they come from."""
        head = WORD + 8
        if self.six:
            name, local = key[: self.name_length], key[self.name_length + head :]
            usable = any(local) and local[0] != 0xFF  # a multicast address cannot be a source
            control = cmsg(socket.IPPROTO_IPV6, 50, local + bytes(4))
        else:
            name, local = key[8:], key[:4]
            usable = any(local)
            control = cmsg(socket.IPPROTO_IP, 8, bytes(4) + local + bytes(4))
        return Envelope(name, control if usable else b"")


class Envelope:
    """What goes around a datagram: ``name`` (a sockaddr or nothing) and control data.

    ``header`` is a ``struct mmsghdr`` that points to them and waits for its iov, in words.
    ``segment`` is the largest size that may be handed to the kernel as one large datagram to be
    cut up (UDP_SEGMENT); an Outbox sets it to 0 when that turns out not to work on this path.
    """

    __slots__ = ("_memory", "control", "header", "segment")

    def __init__(self, name: bytes = b"", control: bytes = b"", segment: int = MAX_SEGMENT) -> None:
        self.control = control
        self.segment = segment
        self._memory = array("B", name.ljust(NAME, b"\0") + control)
        at, size = self._memory.buffer_info()[0], len(control)
        header = struct.pack(_HEADER, at if name else 0, len(name), 0, 1, at + NAME, size, 0, 0)
        self.header = array("L", header)


def cmsg(level: int, kind: int, data: bytes) -> bytes:
    """One control message, padded as CMSG_SPACE has it."""
    head = (WORD + 8 + len(data)).to_bytes(WORD, "little") + array("i", (level, kind)).tobytes()
    return head + data + bytes(-len(data) % WORD)


@functools.cache
def cut(size: int) -> bytes:
    """The control message that has the kernel cut what is sent into datagrams of this size."""
    return cmsg(SOL_UDP, UDP_SEGMENT, array("H", (size,)).tobytes())


def runs(lengths: Sequence[int], largest: int) -> Iterator[tuple[int, int]]:
    """Cut a sequence of sizes into (start, count): what UDP_SEGMENT may send as one.

    All of one size but the last, which may be smaller; none empty, none above ``largest``, together
    at most MAX_SEGMENTED.
    """
    start, end = 0, len(lengths)
    while start < end:
        size, stop = lengths[start], start + 1
        if 0 < size <= largest:
            limit = min(end, start + MAX_SEGMENTED // size)
            while stop < limit and lengths[stop] == size:
                stop += 1
            if stop < limit and 0 < lengths[stop] < size:
                stop += 1
        yield start, stop - start
        start = stop
