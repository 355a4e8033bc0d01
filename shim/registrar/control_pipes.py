"""The registrar's ends of the shims' control pipes: what shims say, that a shim has ended, and the answers.

One epoll set holds every lease pipe, and one task waits for that set: a shim at rest costs two descriptors,
and neither a task nor a wake-up.
"""

import os
import select
import stat
from collections.abc import Callable

import trio

from shim.wire.traffic import COUNTED
from shim.wire.words import EXIT, ORPHAN, PARKED, RELEASE

HALF_LIMIT = 1 << 12  # characters of a line that is kept until its rest comes


class ControlPipes:
    """Every shim's pipes, by the lease's id.

    ``on_release``, ``on_orphan``, ``on_end`` and ``on_parked`` are called with that id, from ``run``'s task,
    and ``after_batch`` once after one or more of these calls.  ``on_counted`` is called with the id
    and a line that begins with COUNTED.
    """

    def __init__(
        self,
        on_release: Callable[[int], None],
        on_orphan: Callable[[int], None],
        on_end: Callable[[int], None],
        on_parked: Callable[[int], None],
        after_batch: Callable[[], None],
        on_counted: Callable[[int, str], None] = lambda lease_id, line: None,
    ) -> None:
        self._on_release = on_release
        self._on_orphan = on_orphan
        self._on_end = on_end
        self._on_parked = on_parked
        self._after_batch = after_batch
        self._on_counted = on_counted
        self._halves: dict[int, str] = {}  # lease id -> the begin of a line of COUNTED
        self._epoll = select.epoll()
        self._leases: dict[int, int] = {}  # lease descriptor -> lease id
        self._pipes: dict[int, tuple[int, int]] = {}  # lease id -> (lease, wake)

    def __len__(self) -> int:
        return len(self._pipes)

    def add(self, lease_id: int, lease_fd: int, wake_fd: int) -> None:
        """Watch a shim's pipes.  ControlPipes owns the descriptors from here on, and closes them."""
        os.set_blocking(lease_fd, False)
        os.set_blocking(wake_fd, False)
        self._pipes[lease_id] = (lease_fd, wake_fd)
        self._leases[lease_fd] = lease_id
        self._epoll.register(lease_fd, select.EPOLLIN)

    def say(self, lease_id: int, word: str) -> None:
        """Send a shim one of the words of shim.wire.words; nothing, if it has ended."""
        pipes = self._pipes.get(lease_id)
        if pipes is None:
            return
        try:
            os.write(pipes[1], f"{word}\n".encode())
            if word == EXIT:
                os.fchmod(pipes[1], 0o600 | stat.S_ISVTX)
        except OSError:
            # It has just ended: the end of file on its lease pipe is about to tell.
            pass

    async def run(self) -> None:
        """Read every pipe, and call the function for each word and each end of file.  Does not return."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0):
                self._read(fd)
            self._after_batch()

    def close(self) -> None:
        """Close every descriptor of the registrar's; the shims live on."""
        for lease_id in list(self._pipes):
            self._close(lease_id)
        self._epoll.close()

    def _read(self, fd: int) -> None:
        lease_id = self._leases[fd]
        try:
            text = os.read(fd, 4096).decode("ascii", "replace")
        except BlockingIOError:
            return
        ended = not text
        if COUNTED in text or lease_id in self._halves:
            text = self._take_counted(lease_id, text)
        if PARKED in text:
            self._on_parked(lease_id)
        if RELEASE in text:
            self._on_release(lease_id)
        elif ORPHAN in text:
            self._on_orphan(lease_id)
        if ended:
            self._close(lease_id)
            self._on_end(lease_id)

    def _take_counted(self, lease_id: int, text: str) -> str:
        """What ``text`` has beside the lines of COUNTED; the begin of one is kept until its rest comes."""
        *lines, half = (self._halves.pop(lease_id, "") + text).split("\n")
        if half and text:
            self._halves[lease_id] = half[-HALF_LIMIT:]
        others = []
        for line in lines:
            if line.startswith(COUNTED):
                self._on_counted(lease_id, line)
            else:
                others.append(line)
        return "\n".join(others)

    def _close(self, lease_id: int) -> None:
        lease_fd, wake_fd = self._pipes.pop(lease_id)
        self._halves.pop(lease_id, None)
        del self._leases[lease_fd]
        self._epoll.unregister(lease_fd)
        os.close(lease_fd)
        os.close(wake_fd)
