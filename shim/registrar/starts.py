"""Starts the ports of shells that wait: the registrar does from outside what Python would do in the shim.

Where dockerd gives the port (Engine 28 and later), the shell that it runs makes its pipes, writes its process
id to a FIFO, and waits for a word (shim.wire.words).  The registrar makes dockerd's socket hold the port, by
a copy of its descriptor (pidfd_getfd(2)): all that is set there belongs to the open file.  Then it says READY
and admits the shim.

Nothing here is trusted but what the kernel says.  The FIFO is for root, and a line that is no process id, or
that of a process which is no shim, does nothing.  What is unusual, or fails, gets ALONE: Python's start does
it, or says what is wrong.  No answer at all is one, too: the shell waits START_WAIT.

A shell reports a UDP port to dockerd once it is READY, as one that a person's socket shares is refused.  A
TCP port it reports before: dockerd has listened there, so that nobody else can, and nothing is left
that could be wrong.  Until the port is held the kernel queues clients, and resets them then, as it does those
that came before.  That is half a millisecond; where the registrar dies in it, START_WAIT and Python's start.
"""

import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import trio

from shim.core.binding import Binding
from shim.host.pidfds import copy_of
from shim.host.process import capabilities
from shim.host.procfs import Shim, Surroundings, open_control_pipes, port_of, shim_at, surroundings
from shim.proxy.owner import hold_given
from shim.proxy.park import signal_datagrams
from shim.wire.words import ALONE, LATE_SUFFIX, READY, START_SUFFIX, STARTER_SUFFIX, WCHAN_SUFFIX

log = logging.getLogger("envoy-docker-shim")

# Bytes that the FIFO holds, where the kernel allows it: some 100,000 shells.
ROOM = 1 << 20
LONGEST = 10  # digits of a process id
NOBODY = 65534
_CAP_SYS_PTRACE = 1 << 19  # <linux/capability.h>
# What a shell that was born ignoring it can never trap.
_TOLD = 1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1


class Starts:
    """``admit`` is LiveShims.admit; ``owner`` gives the user whose the ports are, None while not known.

    ``no_socket`` is called where a shell could not have registered: the file of the socket is gone.
    """

    def __init__(
        self,
        admit: Callable[[int, Binding, int, int], int | None],
        owner: Callable[[], int | None],
        no_socket: Callable[[], None],
    ) -> None:
        self._admit = admit
        self._owner = owner
        self._no_socket = no_socket
        self._path: str | None = None  # the registration socket's, while shells are served
        self._fifo: os.stat_result | None = None
        self._round = trio.CancelScope()  # one FIFO's
        self._half = b""
        self._own: Surroundings | None = None

    async def run(self, socket_path: str) -> None:
        """Serve shells.  Returns where this process may not start them, and says so."""
        try:
            self._own = surroundings()
            _try_what_it_takes()
        except (OSError, NotImplementedError) as error:
            log.warning(
                "ports start slower than they could: CAP_SYS_PTRACE, CAP_CHOWN or pidfd_getfd is missing: %s",
                error,
            )
            return
        self._path = socket_path
        try:
            while True:
                with trio.CancelScope() as self._round:
                    await self._serve()
        finally:
            self._unpublish()

    def renew(self) -> None:
        """A shim came by itself that could have been started here: take away what kept it from that."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._path + LATE_SUFFIX)
        with contextlib.suppress(OSError):
            link, fifo = (os.stat(self._path + suffix) for suffix in (STARTER_SUFFIX, START_SUFFIX))
            if self._fifo is not None and os.path.samestat(link, fifo) and os.path.samestat(fifo, self._fifo):
                return
        self._round.cancel()

    def begin(self, pid: int) -> None:
        """Start the port of the shell with this process id, if it is one that waits."""
        assert self._own is not None
        shim = shim_at(pid, self._own)
        if shim is not None and shim.waiting:
            self.answer(shim)

    def answer(self, shim: Shim) -> bool:
        """Start a shell's port, and tell it; returns whether it has been admitted now."""
        try:
            lease_fd, wake_fd = open_control_pipes(shim)
        except OSError as error:
            log.debug("%s (process %d) cannot be started: %s", shim.binding, shim.pid, error)
            return False
        try:
            self._hold(shim)
        except (OSError, ValueError, LookupError, NotImplementedError) as error:
            log.debug("%s (process %d) starts by itself: %s", shim.binding, shim.pid, error)
            _say(lease_fd, wake_fd, ALONE)
            os.close(lease_fd)
            os.close(wake_fd)
            return False
        _say(lease_fd, wake_fd, READY)
        return self._admit(shim.pid, shim.binding, lease_fd, wake_fd) is not None

    def _hold(self, shim: Shim) -> None:
        """Raises OSError, ValueError, LookupError, NotImplementedError."""
        if shim.ignored & _TOLD:
            raise ValueError("it ignores the signals that it is told to end by")
        with port_of(shim) as port:
            hold_given(port)
            if shim.binding.address.proto == "udp":
                signal_datagrams(port.fileno(), shim.pid)
            elif (owner := self._owner()) is not None:
                os.fchown(port.fileno(), owner, -1)

    # -- the FIFO ----------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Serve one FIFO, until it is to be made anew."""
        try:
            fifo = self._publish()
        except OSError as error:
            log.warning("ports start slower than they could: no FIFO for their shells: %s", error)
            await trio.sleep_forever()
        self._half = b""
        try:
            while True:
                await trio.lowlevel.wait_readable(fifo)
                try:
                    text = os.read(fifo, 1 << 12)
                except BlockingIOError:
                    continue
                for pid in self._take(text):
                    self.begin(pid)
                    await trio.lowlevel.checkpoint()
                if not os.path.exists(self._path or ""):
                    self._no_socket()
        finally:
            os.close(fifo)

    def _take(self, text: bytes) -> list[int]:
        """The process ids in what has come."""
        *lines, half = (self._half + text).split(b"\n")
        # What is longer than any process id goes on being none when its rest comes.
        self._half = half[: LONGEST + 1]
        return [int(line) for line in lines if line.isdigit() and len(line) <= LONGEST]

    def _publish(self) -> int:
        """Make FIFO and link, in the place of whatever is there; returns the FIFO.  Raises OSError."""
        assert self._path is not None
        self._unpublish()
        Path(self._path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = self._path + START_SUFFIX
        os.mkfifo(path, 0o600)
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._fifo = os.fstat(fifo)
            if not stat.S_ISFIFO(self._fifo.st_mode):
                raise OSError(f"{path} is no FIFO")
            with contextlib.suppress(OSError):
                fcntl.fcntl(fifo, fcntl.F_SETPIPE_SZ, ROOM)
            os.symlink(f"/proc/{os.getpid()}/wchan", self._path + WCHAN_SUFFIX)
            os.symlink(f"/proc/{os.getpid()}/fd/{fifo}", self._path + STARTER_SUFFIX)
        except BaseException:
            os.close(fifo)
            raise
        return fifo

    def _unpublish(self) -> None:
        assert self._path is not None
        for suffix in (STARTER_SUFFIX, START_SUFFIX, WCHAN_SUFFIX, LATE_SUFFIX):
            with contextlib.suppress(OSError):
                os.unlink(self._path + suffix)


def _try_what_it_takes() -> None:
    """Raise OSError or NotImplementedError where this process cannot copy a port, or give one to Envoy.

    What it may do to itself says nothing of shims, which have all of root's capabilities.
    """
    if os.geteuid() == 0 and not capabilities() & _CAP_SYS_PTRACE:
        raise PermissionError(errno.EPERM, "no CAP_SYS_PTRACE")
    with socket.socket() as probe:
        os.close(copy_of(os.getpid(), probe.fileno()))
        os.fchown(probe.fileno(), NOBODY, -1)


def _say(lease_fd: int, wake_fd: int, word: str) -> None:
    """Say a word, and show by the lease pipe's mode that there is one: a shell cannot look into a pipe."""
    with contextlib.suppress(OSError):  # it has ended
        os.write(wake_fd, f"{word}\n".encode())
        os.fchmod(lease_fd, 0o600 | stat.S_ISVTX)
