"""Datagrams in batches: ``recvmmsg`` and ``sendmmsg`` through ctypes, with preallocated memory.

A batch is up to SLOTS datagrams in one ``Payload``; an ``Inbox`` receives into it, an ``Outbox``
sends from it, so a datagram is never copied.  All sizes are in bytes; a call's failure is returned
as a negative errno, as the kernel does it, because on this path an exception costs more than the
datagram.  The structures are glibc's and the kernel's; musl's differ only by padding, which these
leave zero (on a little-endian machine, which is every one that Docker runs on but s390x).

This is the hot path: what is done once for each batch may be plain Python, what is done once for
each datagram is a slice over the whole batch.
"""

import ctypes
import errno
import mmap
import socket
from array import array
from collections.abc import Iterable, Sequence

from shim.relay.envelope import WORD, Envelope, Layout, cut, runs

SLOTS = 64
LARGEST = 65_536  # no UDP payload is larger: 65,507 over IPv4, 65,527 over IPv6
# The distance of two slots; were it a power of two, their first bytes would share a cache set.
STRIDE = LARGEST + 1_344

# What sending fails with while the socket or the device is full: trying again would be no use.
FULL = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM))
RETRIES = 3

# PyDLL, as no call blocks: giving the interpreter lock away and back costs more than it frees.  No
# argtypes either, which cost a microsecond a call: what is wider than an int is passed as c_void_p.
_libc = ctypes.PyDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
_NULL = ctypes.c_void_p(None)


class _Message(ctypes.Structure):
    """``struct msghdr``."""

    _fields_ = (
        ("name", ctypes.c_size_t),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_size_t),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_size_t),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


HEADER = ctypes.sizeof(_Header)
_WORDS = HEADER // WORD  # a header counted in words, and the places of its fields in them
_IOV, _IOV_LENGTH = _Message.iov.offset // WORD, _Message.iov_length.offset // WORD
_CONTROL, _CONTROL_LENGTH = _Message.control.offset // WORD, _Message.control_length.offset // WORD
_LENGTH, _UINTS = _Header.length.offset // 4, HEADER // 4


class Payload:
    """Memory for the datagrams of one batch: its pages are taken when first written to."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * STRIDE)
        view = memoryview(self._memory)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.slots = [view[slot * STRIDE : slot * STRIDE + LARGEST] for slot in range(SLOTS)]
        self.addresses = [address + slot * STRIDE for slot in range(SLOTS)]

    def release(self) -> None:
        """Give the pages back to the system; their contents are lost."""
        self._memory.madvise(mmap.MADV_DONTNEED)


_FIRST = range(1)


class Inbox:
    """Receives batches into a Payload; with a Layout, addresses as well."""

    def __init__(self, payload: Payload, layout: Layout | None = None) -> None:
        self._headers = (_Header * SLOTS)()
        self._iov = array("L", bytes(2 * WORD * SLOTS))
        self._layout = layout
        stride = layout.stride if layout else 0
        self._names = bytearray(stride * SLOTS)
        names = _address(self._names) if layout else 0
        for slot in range(SLOTS):
            header = self._headers[slot].message
            self._iov[2 * slot], self._iov[2 * slot + 1] = payload.addresses[slot], LARGEST
            header.iov, header.iov_length = self._iov.buffer_info()[0] + 2 * WORD * slot, 1
            if layout:
                header.name, header.name_length = names + stride * slot + layout.name, layout.name_length
                header.control = names + stride * slot + layout.control
                header.control_length = layout.control_length
        self._addresses = _pointers(self._headers)
        self._fresh = bytes(self._headers)
        self._uints = memoryview(self._headers).cast("B").cast("I")
        self._used = 0

    def receive(self, fd: int, at: int = 0) -> int:
        """Fill the slots from ``at`` on with what waits on the socket: how many, or -errno."""
        if self._layout:  # the kernel has overwritten the lengths of what it has received
            ctypes.memmove(self._addresses[0], self._fresh, self._used * HEADER)
        count: int = _recvmmsg(fd, self._addresses[at], SLOTS - at, socket.MSG_DONTWAIT, _NULL)
        if count < 0:
            return -ctypes.get_errno()
        self._used = count
        return count

    def lengths(self, count: int, at: int = 0) -> list[int]:
        """The sizes of ``count`` datagrams just received."""
        if count == 1:
            return [self._uints[_LENGTH + at * _UINTS]]
        return self._uints[_LENGTH + at * _UINTS : (at + count) * _UINTS : _UINTS].tolist()

    def groups(self, count: int) -> Iterable[tuple[bytes, Sequence[int]]]:
        """The keys of the datagrams just received, each with the slots of its datagrams in order."""
        assert self._layout
        stride, key = self._layout.stride, self._layout.key
        if count == 1:
            return ((bytes(self._names[key]), _FIRST),)
        block = bytes(self._names[: count * stride])
        if block == block[:stride] * count:
            return ((block[key], range(count)),)
        groups: dict[bytes, list[int]] = {}
        start, stop = key.start, key.stop
        for slot in range(count):
            groups.setdefault(block[start:stop], []).append(slot)
            start += stride
            stop += stride
        return groups.items()


_CUT = 80  # IPV6_PKTINFO and UDP_SEGMENT


class Outbox:
    """Sends datagrams out of a Payload, those of one size to one address as one where possible."""

    def __init__(self, payload: Payload, segment: bool) -> None:
        """``segment``: UDP_SEGMENT may be used."""
        self.lost = 0  # datagrams the system would not take, since the caller last set it to 0
        self._segment = segment
        self._payload = payload
        self._headers = (_Header * SLOTS)()
        self._addresses = _pointers(self._headers)
        self._words = memoryview(self._headers).cast("B").cast("L")
        self._iov = array("L", bytes(2 * WORD * SLOTS))
        self._pieces = array("L", (self._iov.buffer_info()[0] + 2 * WORD * slot for slot in range(SLOTS)))
        self._starts, self._sizes = memoryview(self._iov)[::2], memoryview(self._iov)[1::2]
        # What they hold, so that they are written only where that changes.
        self._slots: list[int] = [-1] * SLOTS
        self._lengths: list[int] = [-1] * SLOTS
        self._control = bytearray(_CUT * SLOTS)  # of messages that are several datagrams
        self._control_address = _address(self._control)
        # The messages to send: each an envelope, and its first datagram and their number in the iov.
        self._messages: list[tuple[Envelope, int, int]] = []
        self._filled = 0

    def add(self, envelope: Envelope, slots: Sequence[int], lengths: list[int]) -> None:
        """Put datagrams into the box; there is room for SLOTS of them."""
        if len(slots) == 1:
            self.add_one(envelope, slots[0], lengths[0])
            return
        at = self._filled
        self._filled = end = at + len(slots)
        self._place(at, end, list(slots), lengths)
        if not self._segment or not envelope.segment:
            for datagram in range(at, end):
                self._message(envelope, datagram, 1, 0)
            return
        for start, count in runs(lengths, envelope.segment):
            self._message(envelope, at + start, count, lengths[start] if count > 1 else 0)

    def add_one(self, envelope: Envelope, slot: int, length: int) -> None:
        """Put a datagram into the box."""
        at = self._filled
        self._filled = at + 1
        if self._slots[at] != slot:
            self._slots[at] = slot
            self._starts[at] = self._payload.addresses[slot]
        if self._lengths[at] != length:
            self._lengths[at] = self._sizes[at] = length
        self._message(envelope, at, 1, 0)

    def add_each(self, envelopes: list[Envelope], lengths: list[int]) -> None:
        """Fill the empty box from the first slots, each datagram in an envelope of its own."""
        self._filled = count = len(lengths)
        self._place(0, count, list(range(count)), lengths)
        words, end = self._words, count * _WORDS
        words[:end] = memoryview(b"".join([envelope.header for envelope in envelopes])).cast("L")
        words[_IOV:end:_WORDS] = self._pieces[:count]
        self._messages += [(envelope, place, 1) for place, envelope in enumerate(envelopes)]

    def flush(self, fd: int) -> None:
        """Send all that is in the box, what cannot be sent counted in ``lost``; the box is empty then."""
        done, tries, messages = 0, 0, self._messages
        while done < len(messages):
            sent = _sendmmsg(fd, self._addresses[done], len(messages) - done, socket.MSG_DONTWAIT)
            if sent > 0:
                done, tries = done + sent, 0
                continue
            # An ICMP error that an earlier datagram met is told to the next one, which was not
            # sent: the error is gone now, so the same datagram is sent again.
            tries += 1
            if ctypes.get_errno() in FULL or tries > RETRIES:
                self._give_up(fd, done)
                done, tries = done + 1, 0
        messages.clear()
        self._filled = 0

    def _place(self, at: int, end: int, slots: list[int], lengths: list[int]) -> None:
        if self._slots[at:end] != slots:
            self._slots[at:end] = slots
            self._starts[at:end] = array("L", [self._payload.addresses[slot] for slot in slots])
        if self._lengths[at:end] != lengths:
            self._lengths[at:end] = lengths
            self._sizes[at:end] = array("L", lengths)

    def _message(self, envelope: Envelope, first: int, count: int, segment: int) -> None:
        index = len(self._messages)
        self._messages.append((envelope, first, count))
        words, word = self._words, index * _WORDS
        words[word : word + _WORDS] = envelope.header
        words[word + _IOV] = self._pieces[first]
        if segment:
            control = envelope.control + cut(segment)
            start = index * _CUT
            self._control[start : start + len(control)] = control
            words[word + _IOV_LENGTH] = count
            words[word + _CONTROL] = self._control_address + start
            words[word + _CONTROL_LENGTH] = len(control)

    def _give_up(self, fd: int, index: int) -> None:
        """A message could not be sent: if it was several datagrams in one, try each by itself."""
        envelope, first, count = self._messages[index]
        if count == 1 or ctypes.get_errno() in FULL:
            self.lost += count
            return
        envelope.segment = 0
        words, word = self._words, index * _WORDS
        words[word : word + _WORDS] = envelope.header
        for datagram in range(first, first + count):
            words[word + _IOV] = self._pieces[datagram]
            if _sendmmsg(fd, self._addresses[index], 1, socket.MSG_DONTWAIT) != 1:
                self.lost += 1


def _address(memory: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _pointers(headers: "ctypes.Array[_Header]") -> list[ctypes.c_void_p]:
    """The address of each header."""
    address = ctypes.addressof(headers)
    return [ctypes.c_void_p(address + slot * HEADER) for slot in range(SLOTS)]
