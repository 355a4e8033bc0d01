"""Whole lines out of what is read piece by piece: half of one may be all that is there yet."""

from collections.abc import Iterator

# Bytes.  Envoy's lines are bounded well below (core/envoy/access_log.py); what is longer is none of them.
LINE_LIMIT = 1 << 16


class Lines:
    """Keeps the half line that a piece ends with until its rest comes; of an endless one it keeps nothing."""

    def __init__(self) -> None:
        self._half = b""
        self._skipping = False  # the rest of a line that is too long

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that this piece ends, without their line feeds."""
        *whole, rest = piece.split(b"\n")
        for line in whole:
            found = self._half + line
            if not self._skipping and len(found) <= LINE_LIMIT:
                yield found
            self._half, self._skipping = b"", False
        self._half += rest
        if len(self._half) > LINE_LIMIT:
            self._half, self._skipping = b"", True
