"""Whether a dockerd runs, found out without starting one."""

import os
from pathlib import Path

import trio

from shim.host.peer_credentials import credentials_of

# The process that listens for dockerd where systemd starts it on demand (docker.socket).
SYSTEMD = 1


class DockerdPresence:
    """The dockerd behind a Unix socket.  An empty path: one behind TCP, which counts as there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._on_demand = False

    async def there(self) -> bool:
        """Whether a dockerd listens.

        A dockerd that starts listens long before it answers.  systemd's socket always listens, and a
        connection to it starts a dockerd that an operator may have stopped on purpose; so once systemd is
        known to listen, a process of dockerd is looked for instead.
        """
        if not self._path:
            return True
        if self._on_demand:
            return dockerd_runs()
        try:
            async with await trio.open_unix_socket(self._path) as stream:
                listener = credentials_of(stream.socket)
        except OSError:
            return False
        self._on_demand = listener.pid == SYSTEMD
        return not self._on_demand or dockerd_runs()


def dockerd_runs(proc: Path = Path("/proc")) -> bool:
    """Whether a process named dockerd runs, by this /proc."""
    for name in os.listdir(proc):
        if name.isdecimal():
            try:
                stat = (proc / name / "stat").read_text()
            except OSError:
                continue
            command, state = stat.partition("(")[2].rpartition(")")[0], stat.rpartition(")")[2].split()[0]
            if command == "dockerd" and state != "Z":
                return True
    return False
