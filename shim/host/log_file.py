"""A log file, followed over its rotations."""

import os
import time
from collections.abc import Iterator
from typing import BinaryIO

from shim.core.logs.lines import Lines

# Bytes before its end in which a file's last lines are looked for.
TAIL = 64 << 20
PIECE = 1 << 20
POLL_PAUSE = 0.25  # seconds between two looks at a file that is followed


class LogFile:
    """A file that is written to, cut, moved away and made anew while it is read."""

    def __init__(self, path: str) -> None:
        """Raises OSError, as ``last`` and ``new`` do."""
        self._path = path
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by ``close``)
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(max(0, size - TAIL))
        self._lines = Lines()
        if size > TAIL:
            self._file.readline()  # the rest of a line that began before
        # Whoever moves a file away tells Envoy afterwards: until then lines still go there.
        self._previous: tuple[BinaryIO, Lines] | None = None

    def close(self) -> None:
        """Nothing is read any more."""
        self._file.close()
        if self._previous is not None:
            self._previous[0].close()

    def last(self) -> Iterator[bytes]:
        """Those of the file's last TAIL bytes."""
        return _read(self._file, self._lines)

    def following(self) -> Iterator[bytes]:
        """Those that come, in whatever file of that name."""
        while True:
            yield from self.new()
            time.sleep(POLL_PAUSE)

    def new(self) -> Iterator[bytes]:
        """Those that have come since the last call."""
        if self._previous is not None:
            yield from _read(*self._previous)
        yield from _read(self._file, self._lines)
        if self._turned_to_another():
            yield from _read(self._file, self._lines)

    def _turned_to_another(self) -> bool:
        """Begin anew where the file was cut, or where another one has its name now."""
        here = os.fstat(self._file.fileno())
        if here.st_size < self._file.tell():
            self._file.seek(0)
            self._lines = Lines()
            return True
        try:
            if os.path.samestat(os.stat(self._path), here):
                return False
            newer = open(self._path, "rb")  # noqa: SIM115
        except OSError:
            return False  # moved away, and not made anew yet
        if self._previous is not None:
            self._previous[0].close()
        self._previous = self._file, self._lines
        self._file, self._lines = newer, Lines()
        return True


def _read(file: BinaryIO, lines: Lines) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield from lines.feed(piece)
