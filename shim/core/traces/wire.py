"""Protocol Buffers' wire format, field by field (https://protobuf.dev/programming-guides/encoding/).

Only what reading needs: there is no schema here, nothing is copied, and what is not wanted is stepped over.
"""

from collections.abc import Iterator

# The wire types: what follows a tag, which is ``number << 3 | type``.
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


class Message:
    """Bytes from outside.  At most ``limit`` fields of them are read, of all messages in it together."""

    def __init__(self, data: bytes, limit: int) -> None:
        self.data = data
        self._left = limit

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(tag, start, stop) of each field of the message at ``at:end``; of a varint (tag, value, 0).

        Raises ValueError where it is none, or has more fields than may be read.
        """
        data = self.data
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many fields")
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = self._rest(tag, at, end)
            kind = tag & 7
            if kind == LENGTH and at < end:
                stop = data[at]
                at += 1
                if stop > 127:
                    stop, at = self._rest(stop, at, end)
                stop += at
            elif kind == VARINT and at < end:
                value = data[at]
                at += 1
                if value > 127:
                    value, at = self._rest(value, at, end)
                yield tag, value, 0
                continue
            elif kind == FIXED64:
                stop = at + 8
            elif kind == FIXED32:
                stop = at + 4
            else:
                raise ValueError(f"a field of wire type {kind} at byte {at}")
            if stop > end:
                raise ValueError(f"a field that ends beyond its message at byte {at}")
            yield tag, at, stop
            at = stop

    def _rest(self, value: int, at: int, end: int) -> tuple[int, int]:
        """A varint whose first byte says that more follow; and where it ends."""
        value &= 127
        for shift in range(7, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & _MASK, at
        raise ValueError(f"a number without an end at byte {at}")
