"""What a TCP shim becomes, a few lines of shell, in every shell that may be a host's /bin/sh.

Started as the start-up leaves it, with the registrar's ends of its line in the test's hands.
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

import pytest

from shim.proxy.park import tcp_script
from shim.wire.words import LEASE_FD, NAME, PORT_FD, WAKE_FD
from tests.builders import make_flags
from tests.conftest import cannot
from tests.harness.wait import eventually

SHELLS = ["dash", "bash", "busybox"]
HIGH = 20  # out of the way of the fixed descriptors
TIMEOUT = 5.0
AT_ONCE = 1.0  # well below BOUND: whoever ends as fast has not waited for it
BOUND = 2.0  # how long a registrar's answer is waited for


class Parked:
    """A parked shell; ``lease`` and ``wake`` are the registrar's ends of its line."""

    def __init__(self, shell: str) -> None:
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
                    tcp_script(),
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
            assert _readable(self.lease, deadline - time.monotonic()), f"no {text!r}, but {self.heard!r}"
            data = os.read(self.lease, 4096)
            assert data, f"gone without {text!r}, after {self.heard!r}"
            self.heard += data
        self.heard = self.heard.partition(text)[2]

    def rest(self) -> bytes:
        """What it said besides, once it has ended: nobody else has the lease's other end then."""
        while _readable(self.lease, 0):
            data = os.read(self.lease, 4096)
            if not data:
                return self.heard
            self.heard += data
        raise AssertionError(f"the shell is gone, and something else holds its lease: {children(self.pid)}")

    def drain(self) -> None:
        """Read what it has said so far, so that its pipe never fills."""
        while _readable(self.lease, 0) and os.read(self.lease, 4096):
            pass

    def leave(self) -> None:
        """The registrar ends."""
        os.close(self.lease)
        os.close(self.wake)
        self.lease = self.wake = -1

    def runs(self) -> bool:
        return not _readable(self.handle, 0)

    def ends(self, within: float) -> float:
        """How long it took to end, with status 0."""
        began = time.monotonic()
        assert _readable(self.handle, within), f"still there after {within} s, and has said {self.heard!r}"
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


def _readable(fd: int, timeout: float) -> bool:
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


@contextlib.contextmanager
def parked(shell: str) -> Iterator[Parked]:
    process = Parked(shell)
    try:
        process.say(b"anything\n")
        assert process.runs()
        yield process
    finally:
        process.close()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shim(shell: str) -> Iterator[Parked]:
    with parked(shell) as process:
        yield process


# -- dockerd stops it ----------------------------------------------------------------------------------


def test_on_int_it_asks_to_be_released_and_ends_when_told(shell: str) -> None:
    """With its end port and lease are free: the timer, just started, does not outlive it with a copy."""
    for _ in range(40):
        with parked(shell) as shim:
            shim.kill(signal.SIGINT)
            shim.hear(b"release\n")
            os.write(shim.wake, b"exit\n")
            shim.ends(AT_ONCE)
            assert shim.rest() == b""
            with socket.socket() as successor:
                successor.bind(shim.address)


def test_on_int_it_stays_until_it_is_told(shim: Parked) -> None:
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    shim.say(b"\n")  # a nudge that comes late is no answer
    assert not _readable(shim.handle, 0.2)
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)


def test_on_int_it_waits_two_seconds_at_most_for_a_registrar_that_does_not_answer(shim: Parked) -> None:
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    assert AT_ONCE < shim.ends(TIMEOUT) < BOUND + AT_ONCE
    assert shim.rest() == b""
    eventually(lambda: not children(shim.pid), AT_ONCE, f"nothing is left: {children(shim.pid)}")


def test_on_int_it_ends_at_once_where_no_registrar_is(shim: Parked) -> None:
    shim.leave()
    shim.kill(signal.SIGINT)
    shim.ends(AT_ONCE)
    assert children(shim.pid) == {}


def test_more_signals_do_not_disturb_a_release(shim: Parked) -> None:
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    for _ in range(200):
        shim.kill(signal.SIGINT, signal.SIGTERM)
    assert shim.runs()
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    assert shim.rest() == b""


def test_its_timer_holds_neither_lease_nor_port_and_is_gone_in_time(shim: Parked) -> None:
    """A registrar that answers does not end the timer's `sleep`, which nobody waits for."""
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    for pid in children(shim.pid):
        with contextlib.suppress(OSError):  # gone meanwhile
            held = set(os.listdir(f"/proc/{pid}/fd"))
            assert not held & {str(LEASE_FD), str(PORT_FD)}
    eventually(lambda: not children(shim.pid), BOUND + AT_ONCE, f"nothing is left: {children(shim.pid)}")


# -- dockerd dies --------------------------------------------------------------------------------------


def test_on_term_it_says_so_and_stays_until_it_is_told_to_end(shim: Parked) -> None:
    shim.kill(signal.SIGTERM)
    shim.hear(b"orphan\n")
    shim.say(b"still there?\n")
    assert shim.runs()
    shim.say(b"exit\n")
    shim.ends(AT_ONCE)
    assert shim.rest() == b""


@pytest.mark.parametrize("times", [1, 2])
def test_on_term_it_ends_where_no_registrar_is(shim: Parked, times: int) -> None:
    shim.leave()
    with contextlib.suppress(ProcessLookupError):
        shim.kill(*[signal.SIGTERM] * times)
    shim.ends(AT_ONCE)


def test_two_terms_in_a_row_are_heard_and_do_not_end_it(shell: str) -> None:
    """dockerd's end sends two: its thread's and its own."""
    for _ in range(40):
        with parked(shell) as shim:
            shim.kill(signal.SIGTERM, signal.SIGTERM)
            shim.hear(b"orphan\n")
            shim.say(b"still there?\n")
            assert shim.runs()


def test_terms_in_hundreds_do_not_end_it(shim: Parked) -> None:
    for _ in range(500):
        shim.kill(signal.SIGTERM, signal.SIGTERM)
        shim.say(b"still there?\n")
        shim.drain()
    assert shim.runs()
    shim.say(b"exit\n")
    shim.ends(AT_ONCE)


def test_term_and_then_int_is_heard_as_both(shell: str) -> None:
    """One that dockerd left behind, and that somebody stops before a dockerd is back."""
    for _ in range(30):
        with parked(shell) as shim:
            shim.kill(signal.SIGTERM, signal.SIGINT)
            shim.hear(b"release\n")
            os.write(shim.wake, b"exit\n")
            shim.ends(AT_ONCE)
    with parked(shell) as shim:
        shim.kill(signal.SIGTERM)
        shim.hear(b"orphan\n")
        shim.kill(signal.SIGINT)
        shim.hear(b"release\n")
        os.write(shim.wake, b"exit\n")
        shim.ends(AT_ONCE)


# -- commands ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket away")
def test_it_gives_its_port_to_the_user_it_is_told(shim: Parked) -> None:
    port = Path(f"/proc/{shim.pid}/fd/{PORT_FD}")
    for user in (101, 4294967294, 0):
        shim.say(b"owner %d\n" % user)
        eventually(lambda u=user: port.stat().st_uid == u, TIMEOUT, f"it is {user}'s")  # type: ignore[misc]
    for nonsense in (b"owner\n", b"owner \n", b"owner nobody-there\n", b"owner 5 /etc\n", b"owner -v\n"):
        shim.say(nonsense)
    shim.say(b"nothing\n")
    assert port.stat().st_uid == 0
    os.write(shim.wake, b"owner 101\n")
    shim.kill(signal.SIGINT)  # in the middle of it
    shim.hear(b"release\n")
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    assert shim.rest() == b""


def test_it_ends_when_told_and_says_nothing(shim: Parked) -> None:
    shim.say(b"exit\n")
    shim.ends(AT_ONCE)
    assert shim.rest() == b""
    assert children(shim.pid) == {}


@pytest.mark.parametrize(
    "text",
    [
        b"\n",
        b"exit now\nexi\nexitt\nEXIT\n",
        b"! = exit -o\n(\n)\n-n\n--\n",
        b"$(kill $$)\n`kill $$`\n; exit\n* ?\n",
        b"exit\\\nexit\\n\n",
        bytes(range(128, 256)) + b"\n",
        b"x" * 5000 + b"\n",
    ],
)
def test_what_is_no_command_is_ignored(shim: Parked, text: bytes) -> None:
    for _ in range(20):
        shim.say(text)
    shim.say(b"ex")
    assert shim.runs()
    shim.say(b"it\n")
    shim.ends(AT_ONCE)
    assert shim.rest() == b""


def test_signals_and_commands_that_rain_down_lose_no_command(shim: Parked) -> None:
    """Signals that mean nothing interrupt a read too, and the bytes that it had must not be lost."""
    meaningless = (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT)
    for _ in range(200):
        shim.kill(*meaningless, signal.SIGTERM)
        os.write(shim.wake, b"noth")
        shim.kill(signal.SIGTERM, *meaningless)
        shim.say(b"ing\n")
        shim.drain()
    assert shim.runs()
    shim.kill(*meaningless, signal.SIGTERM, *meaningless)
    shim.say(b"exit\n")
    shim.ends(AT_ONCE)
