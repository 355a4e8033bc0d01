"""A terminal that one text after another is shown on: drawn in place, with keys and changes of its size.

Escape sequences are xterm's, which every terminal of today knows: the alternate screen (1049), the cursor
hidden (25), and erasing to the end of a line (K) and of the screen (J).
"""

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import NamedTuple

from shim.core.traffic.table import cut

_BEGIN, _END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class Size(NamedTuple):
    """Characters and lines."""

    width: int
    height: int


class Screen:
    """A context manager: what was on the terminal before is there again afterwards, however it ends.

    Without a terminal at standard input there are no keys.
    """

    def __init__(self) -> None:
        self._keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        self._before: list[object] = []
        self._wake, self._woken = -1, -1

    def __enter__(self) -> "Screen":
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_handlers = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGWINCH, self._resized),
                (signal.SIGTERM, self._ended),
                (signal.SIGHUP, self._ended),
            )
        }
        if self._keys >= 0:
            self._before = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
        self._write(_BEGIN)
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        if self._before:
            termios.tcsetattr(self._keys, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
        self._write(_END)
        os.close(self._wake)
        os.close(self._woken)

    @property
    def size(self) -> Size:
        """As it is now: the terminal's own, as $COLUMNS would be what it was once."""
        try:
            return Size(*os.get_terminal_size(sys.stdout.fileno()))
        except OSError:
            return Size(*shutil.get_terminal_size())

    def draw(self, lines: Iterable[str]) -> None:
        """Show these lines, as far as they fit."""
        shown = [line + _REST_OF_LINE for line in list(lines)[: self.size.height]]
        self._write(_HOME + "\n".join(shown) + _REST_OF_SCREEN)

    def wait(self, seconds: float) -> str:
        """The next key within this time; empty: there was none, or the size has changed."""
        until = time.monotonic() + seconds
        watched = [self._wake, *([self._keys] if self._keys >= 0 else [])]
        ready, _, _ = select.select(watched, [], [], max(0.0, until - time.monotonic()))
        if self._wake in ready:
            os.read(self._wake, 100)
        if self._keys in ready:
            typed = os.read(self._keys, 100)
            if not typed:
                raise KeyboardInterrupt  # the terminal is gone
            # Not what arrows and the like begin with.
            return "" if typed.startswith(b"\x1b") else typed[:1].decode("ascii", "replace")
        return ""

    def _resized(self, number: int, frame: FrameType | None) -> None:
        try:
            os.write(self._woken, b"\0")
        except OSError:
            pass  # it is full: there is enough to read

    def _ended(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:
            raise KeyboardInterrupt from None  # the terminal is gone


def is_terminal() -> bool:
    """Whether what is printed is seen on a terminal that can show it in place."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def shows_colours() -> bool:
    """Whether it may have colours (https://no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def show_again_and_again(text: Callable[[], str], every: float) -> None:
    """Show what ``text`` makes, in place where that can be, each ``every`` seconds until Ctrl-C or q."""
    try:
        if not is_terminal():
            while True:
                print(text(), flush=True)
                time.sleep(every)
        with Screen() as screen:
            while True:
                shown = text()
                until = time.monotonic() + every
                while (left := until - time.monotonic()) > 0:
                    width = screen.size.width
                    screen.draw(cut(_printable(line), width) for line in shown.splitlines())
                    if screen.wait(left) == "q":
                        return
    except BrokenPipeError:
        # Whoever read has read enough; Python must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        pass


def _printable(line: str) -> str:
    return "".join(character if character.isprintable() else " " for character in line)
