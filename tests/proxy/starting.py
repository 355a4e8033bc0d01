"""A registrar that only starts ports, in a process of its own, and dies or stops at a given instant.

It is the real code (shim.registrar.starts) on the real FIFO.  Instants are counted by its calls of C
functions for one shell: nearly all of these are calls of the kernel.
"""

import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio

from shim.core.binding import Binding
from shim.host.procfs import Shim, find_shims
from shim.registrar.starts import Starts
from shim.wire.words import OWNER_SUFFIX, STARTER_SUFFIX
from tests.conftest import cannot
from tests.harness.netns import new_network
from tests.harness.wait import eventually

ENVOY = 101
ALL = 1 << 20  # an instant that never comes
# Whose calls count: these files make all that concern the shell.
FILES = ("starts.py", "procfs.py", "pidfds.py", "owner.py", "park.py")


class _Dying(Starts):
    """Sends itself a signal at the instant with this number; says how many there were."""

    def __init__(self, instant: int, number: signal.Signals, told: int) -> None:
        super().__init__(self._admitted, lambda: ENVOY, lambda: None)
        self._instant, self._number, self._told, self._count = instant, number, told, 0

    def _admitted(self, pid: int, binding: Binding, lease_fd: int, wake_fd: int) -> int:
        return pid  # whose pipes stay open, as a registrar's do

    def begin(self, pid: int) -> None:
        sys.setprofile(self._profile)
        super().begin(pid)
        sys.setprofile(None)
        os.write(self._told, b"%d\n" % self._count)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "c_call" and Path(frame.f_code.co_filename).name in FILES:
            self._count += 1
            if self._count == self._instant:
                os.kill(os.getpid(), self._number)


class Starter:
    """A context manager; ``env`` is of shims that it starts."""

    def __init__(
        self, directory: Path, instant: int = ALL, number: signal.Signals = signal.SIGKILL, owner: bool = True
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.socket = directory / "registrar.sock"
        self.env = {**os.environ, "SHIM_SOCKET": str(self.socket)}
        if owner:
            self.socket.with_name(self.socket.name + OWNER_SUFFIX).symlink_to(str(ENVOY))
        self._told, told = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                trio.run(_Dying(instant, number, told).run, str(self.socket))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(told)
        eventually(self.beside(STARTER_SUFFIX).is_symlink, what="it has its FIFO")

    def beside(self, suffix: str) -> Path:
        return self.socket.with_name(self.socket.name + suffix)

    def instants(self, within: float = 2.0) -> int:
        """How many there were in the start that it made; 0: it made none in these seconds."""
        if not select.select([self._told], [], [], within)[0]:
            return 0
        return int(os.read(self._told, 100).split()[-1])

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def __enter__(self) -> "Starter":
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._told)


def shim_on(port: int, ip: str = "127.0.0.1") -> Shim | None:
    """The running shim of a port, as a registrar finds it."""
    found = ((shim.binding.address, shim) for shim in find_shims())
    return next((shim for address, shim in found if (address.ip, address.port) == (ip, port)), None)


@pytest.fixture(autouse=True)
def own_network() -> Iterator[None]:
    """One of its own: a registrar of another test that searches /proc would take these shims up."""
    if os.geteuid():
        cannot("not root")
    with new_network():
        yield
