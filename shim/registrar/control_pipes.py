"""The registrar's ends of the shims' pipes: who is gone, who asks to be released, and the answers.

One epoll set holds every shim's pipe and is itself waited on by one task, so that ten thousand shims
at rest cost no wake-ups and a descriptor pair each, not a task.
"""

import os
import select
from collections.abc import Callable

import trio

from shim.wire.words import ORPHAN, PARKED, RELEASE


class ControlPipes:
    """The first four functions are called with a lease's id, from ``run``'s task; and ``then`` after one or
    more of these: what follows from a thousand ends at a time is done once.
    """

    def __init__(
        self,
        on_release: Callable[[int], None],
        on_orphan: Callable[[int], None],
        on_end: Callable[[int], None],
        on_parked: Callable[[int], None],
        then: Callable[[], None],
    ) -> None:
        self._on_release = on_release
        self._on_orphan = on_orphan
        self._on_end = on_end
        self._on_parked = on_parked
        self._then = then
        self._epoll = select.epoll()
        self._leases: dict[int, int] = {}  # lease descriptor -> lease id
        self._pipes: dict[int, tuple[int, int]] = {}  # lease id -> (lease, wake)

    def __len__(self) -> int:
        return len(self._pipes)

    def add(self, lease_id: int, lease_fd: int, wake_fd: int) -> None:
        """Watch a shim's pipes; the descriptors are ours from here on."""
        os.set_blocking(lease_fd, False)
        os.set_blocking(wake_fd, False)
        self._pipes[lease_id] = (lease_fd, wake_fd)
        self._leases[lease_fd] = lease_id
        self._epoll.register(lease_fd, select.EPOLLIN)

    def say(self, lease_id: int, word: str) -> None:
        """Tell a shim one of the words of shim.wire.words, if it is still there."""
        pipes = self._pipes.get(lease_id)
        if pipes is None:
            return
        try:
            os.write(pipes[1], f"{word}\n".encode())
        except OSError:
            # Gone: its lease's end of file says the same.
            pass

    async def run(self) -> None:
        """Hear shims, and report what they say.  Does not return."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0):
                self._read(fd)
            self._then()

    def close(self) -> None:
        """Close every descriptor; the shims live on."""
        for lease_id in list(self._pipes):
            self._close(lease_id)
        self._epoll.close()

    def _read(self, fd: int) -> None:
        lease_id = self._leases[fd]
        try:
            text = os.read(fd, 4096).decode("ascii", "replace")
        except BlockingIOError:
            return
        if PARKED in text:
            self._on_parked(lease_id)
        if RELEASE in text:
            self._on_release(lease_id)
        elif ORPHAN in text:
            self._on_orphan(lease_id)
        if not text:
            self._close(lease_id)
            self._on_end(lease_id)

    def _close(self, lease_id: int) -> None:
        lease_fd, wake_fd = self._pipes.pop(lease_id)
        del self._leases[lease_fd]
        self._epoll.unregister(lease_fd)
        os.close(lease_fd)
        os.close(wake_fd)
