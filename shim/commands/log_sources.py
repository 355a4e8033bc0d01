"""Where else the access log is read from than a file: the journal of Envoy's unit, or a pipe."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Protocol

from shim.commands.common import CommandError
from shim.core.logs.lines import Lines

# Lines of the journal among which the last ones are looked for; Envoy's own log is among them.
JOURNAL_TAIL = 100_000
PIECE = 1 << 20
CURSOR = b"-- cursor: "


class Source(Protocol):
    """Lines without their ends, others than the access log's among them.  All raise OSError, CommandError."""

    def close(self) -> None:
        """Nothing is read any more."""
        ...

    def last(self) -> Iterator[bytes]:
        """Those that are there already, of which there may be many."""
        ...

    def following(self) -> Iterator[bytes]:
        """Those that come after ``last``, each as it comes."""
        ...


class Journal:
    """What a unit writes to its standard output."""

    def __init__(self, unit: str) -> None:
        self._command = ["journalctl", f"--unit={unit}", "--output=cat", "--no-pager"]
        self._cursor = ""

    def close(self) -> None:
        """Each journalctl has ended by itself, or with whoever read from it."""

    def last(self) -> Iterator[bytes]:
        """Those among the last JOURNAL_TAIL."""
        for line in self._run(f"--lines={JOURNAL_TAIL}", "--show-cursor"):
            if line.startswith(CURSOR):
                self._cursor = line.removeprefix(CURSOR).decode(errors="replace").strip()
            else:
                yield line

    def following(self) -> Iterator[bytes]:
        """Without a gap after what ``last`` gave."""
        after = [f"--after-cursor={self._cursor}"] if self._cursor else ["--lines=all"]
        return self._run("--follow", *after)

    def _run(self, *more: str) -> Iterator[bytes]:
        try:
            process = subprocess.Popen(
                [*self._command, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise CommandError(
                f"journalctl: {error.strerror}: say --file FILE, or pipe to --file -"
            ) from None
        with process:
            assert process.stdout is not None
            try:
                yield from _from_pipe(process.stdout.fileno())
            except BaseException:  # nobody wants more of it
                process.terminate()
                raise
        if process.returncode:
            raise CommandError(f"journalctl ended with {process.returncode}: say --file FILE?")


class Input:
    """Standard input: what another program pipes into this one."""

    def __init__(self, follow: bool) -> None:
        self._follow = follow

    def close(self) -> None:
        """It is not ours."""

    def last(self) -> Iterator[bytes]:
        """All of it up to its end, unless it is followed: then nothing of it is past."""
        return iter(()) if self._follow else _from_pipe(sys.stdin.fileno())

    def following(self) -> Iterator[bytes]:
        """All of it, up to its end."""
        return _from_pipe(sys.stdin.fileno())


def _from_pipe(descriptor: int) -> Iterator[bytes]:
    lines = Lines()
    while piece := os.read(descriptor, PIECE):
        yield from lines.feed(piece)
