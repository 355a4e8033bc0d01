"""A TCP shim's shell, started as the start-up leaves it, with the registrar's ends of its pipes in the test's
hands.
"""

import array
import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from shim.proxy.park import tcp_script
from shim.wire.words import LEASE_FD, NAME, PORT_FD, WAKE_FD
from tests.builders import make_flags
from tests.conftest import cannot
from tests.harness.wait import eventually

SHELLS = ["dash", "bash", "busybox"]
NO_REGISTRAR = Path("/nonexistent/registrar.sock")
HIGH = 20  # out of the way of the fixed descriptors
TIMEOUT = 6.0


class Parked:
    """A parked shell; ``lease`` and ``wake`` are the registrar's ends of its line."""

    def __init__(self, shell: str, registrar: Path) -> None:
        program = shutil.which(shell)
        if program is None:
            cannot(f"no {shell}")
        self.heard = b""
        self.status: int | None = None
        with contextlib.ExitStack() as shims:
            self.lease, lease = os.pipe()
            shims.callback(os.close, lease)
            read, self.wake = os.pipe()
            shims.callback(os.close, read)
            wake = os.open(f"/proc/self/fd/{read}", os.O_RDWR)
            shims.callback(os.close, wake)
            port = shims.enter_context(socket.socket())
            port.bind(("127.0.0.1", 0))
            self.address = port.getsockname()
            self.precious = {os.readlink(f"/proc/self/fd/{fd}") for fd in (lease, port.fileno())}
            moved = []
            for target, fd in ((LEASE_FD, lease), (WAKE_FD, wake), (PORT_FD, port.fileno())):
                high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
                shims.callback(os.close, high)
                moved.append((os.POSIX_SPAWN_DUP2, high, target))
            null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
            self.pid = os.posix_spawn(
                str(program),
                [
                    "sh",
                    "-c",
                    tcp_script(bytes(registrar)),
                    NAME,
                    *make_flags(),
                ],  # so named, bash and busybox are a /bin/sh
                os.environ,
                file_actions=[*null, *moved],
                setpgroup=0,
                setsigdef=[signal.SIGPIPE],
            )
        self.handle = os.pidfd_open(self.pid)

    def kill(self, *numbers: signal.Signals) -> None:
        for number in numbers:
            signal.pidfd_send_signal(self.handle, number)

    def say(self, text: bytes) -> None:
        """... and return once the shell has read it and waits again: then it has set its traps, too.

        It must wait indeed: no shell looks for signals and begins to read in one step, so one that comes
        between the two is acted on when the read ends.
        """
        os.write(self.wake, text)
        eventually(self._waits, TIMEOUT, f"the shell reads {text!r}", interval=0.001)

    def _waits(self) -> bool:
        unread = array.array("i", [0])
        fcntl.ioctl(self.wake, termios.FIONREAD, unread)
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return unread[0] == 0 and state in "SZ"

    def hear(self, text: bytes) -> None:
        """Return once it has said this; what it says later than that is heard later."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.heard:
            assert readable(self.lease, deadline - time.monotonic()), f"no {text!r}, but {self.heard!r}"
            data = os.read(self.lease, 4096)
            assert data, f"gone without {text!r}, after {self.heard!r}"
            self.heard += data
        self.heard = self.heard.partition(text)[2]

    def rest(self) -> bytes:
        """What it said besides, once it has ended: nobody else has the lease's other end then."""
        while readable(self.lease, 0):
            data = os.read(self.lease, 4096)
            if not data:
                return self.heard
            self.heard += data
        raise AssertionError(f"the shell is gone, and something else holds its lease: {children(self.pid)}")

    def drain(self) -> None:
        """Read what it has said so far, so that its pipe never fills."""
        while readable(self.lease, 0) and os.read(self.lease, 4096):
            pass

    def leave(self) -> None:
        """The registrar ends."""
        os.close(self.lease)
        os.close(self.wake)
        self.lease = self.wake = -1

    def take_up(self, text: bytes = b"\n") -> None:
        """Another registrar comes, finds it in /proc, and says this: a nudge."""
        self.lease = os.open(f"/proc/{self.pid}/fd/{LEASE_FD}", os.O_RDONLY | os.O_NONBLOCK)
        self.wake = os.open(f"/proc/{self.pid}/fd/{WAKE_FD}", os.O_WRONLY)
        os.write(self.wake, text)

    def runs(self) -> bool:
        return not readable(self.handle, 0)

    def ends(self, within: float) -> float:
        """How long it took to end, with status 0."""
        began = time.monotonic()
        assert readable(self.handle, within), f"still there after {within} s, and has said {self.heard!r}"
        self._reap()
        assert self.status == 0
        return time.monotonic() - began

    def _reap(self) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        if self.status is None:
            self.kill(signal.SIGKILL)
            self._reap()
        for fd in {self.lease, self.wake, self.handle} - {-1}:
            os.close(fd)


def readable(fd: int, timeout: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout) * 1000))


def children(group: int) -> dict[int, str]:
    """The processes that a shell has left: its process group is its own."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
    return found


def holds(pid: int, shim: Parked) -> set[str]:
    """What a process has of a shim's lease and port, under any number."""
    return shim.precious & _open_files(pid)


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):  # gone meanwhile
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(fd))
    return found


@contextlib.contextmanager
def parked(shell: str, registrar: Path = NO_REGISTRAR) -> Iterator[Parked]:
    process = Parked(shell, registrar)
    try:
        process.say(b"anything\n")
        assert process.runs()
        yield process
    finally:
        process.close()
