"""The registrar's ends of the shims' pipes: who is gone, who asks to be released, and the answers.

One epoll set holds every shim's pipe and is itself waited on by one task, so that ten thousand shims
at rest cost no wake-ups and a descriptor pair each, not a task.
"""

import os
import select
from collections.abc import Callable

import trio

# What a shim says: its port must be off Envoy before it ends; or, its dockerd has died.
RELEASE = b"release"
ORPHAN = b"orphan"
# A UDP shim sleeps from here on, and may have missed a datagram while it lay down.
PARKED = b"parked"
# What it is told: end now; or, a datagram is waiting.
EXIT = b"exit\n"
RELAY = b"relay\n"


class Lines:
    """The four functions are called with a lease's id, from ``run``'s task."""

    def __init__(
        self,
        on_release: Callable[[int], None],
        on_orphan: Callable[[int], None],
        on_end: Callable[[int], None],
        on_parked: Callable[[int], None],
    ) -> None:
        self._on_release = on_release
        self._on_orphan = on_orphan
        self._on_end = on_end
        self._on_parked = on_parked
        self._epoll = select.epoll()
        self._leases: dict[int, int] = {}  # lease descriptor -> lease id
        self._lines: dict[int, tuple[int, int]] = {}  # lease id -> (lease, wake)

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, lease_id: int, lease_fd: int, wake_fd: int) -> None:
        """Watch a shim's line; the descriptors are ours from here on."""
        os.set_blocking(lease_fd, False)
        os.set_blocking(wake_fd, False)
        self._lines[lease_id] = (lease_fd, wake_fd)
        self._leases[lease_fd] = lease_id
        self._epoll.register(lease_fd, select.EPOLLIN)

    def say(self, lease_id: int, text: bytes) -> None:
        """Write to a shim, if it is still there."""
        line = self._lines.get(lease_id)
        if line is None:
            return
        try:
            os.write(line[1], text)
        except OSError:
            # Gone: its lease's end of file says the same.
            pass

    async def run(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0):
                self._read(fd)

    def close(self) -> None:
        for lease_id in list(self._lines):
            self._forget(lease_id)
        self._epoll.close()

    def _read(self, fd: int) -> None:
        lease_id = self._leases[fd]
        try:
            text = os.read(fd, 4096)
        except BlockingIOError:
            return
        if PARKED in text:
            self._on_parked(lease_id)
        if RELEASE in text:
            self._on_release(lease_id)
        elif ORPHAN in text:
            self._on_orphan(lease_id)
        if not text:
            self._forget(lease_id)
            self._on_end(lease_id)

    def _forget(self, lease_id: int) -> None:
        lease_fd, wake_fd = self._lines.pop(lease_id)
        del self._leases[lease_fd]
        self._epoll.unregister(lease_fd)
        os.close(lease_fd)
        os.close(wake_fd)
