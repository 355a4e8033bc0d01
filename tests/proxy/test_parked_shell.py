"""What a TCP shim becomes, a few lines of shell, in every shell that may be a host's /bin/sh.

What it does while no registrar is there is in test_return_wait.py.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.wire.words import PORT_FD
from tests.harness.wait import eventually
from tests.proxy.parked import SHELLS, TIMEOUT, Parked, children, holds, parked, readable

AT_ONCE = 1.0  # well below BOUND: whoever ends as fast has not waited for it
BOUND = 2.0  # how long a registrar's answer is waited for


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
    assert not readable(shim.handle, 0.2)
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)


def test_on_int_it_waits_two_seconds_at_most_for_a_registrar_that_does_not_answer(shim: Parked) -> None:
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    assert AT_ONCE < shim.ends(TIMEOUT) < BOUND + AT_ONCE
    assert shim.rest() == b"release\n"  # to see whether the registrar is there at all
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
    assert shim.rest() == b""
    for pid in children(shim.pid):
        assert not holds(pid, shim)
    eventually(lambda: not children(shim.pid), BOUND + AT_ONCE, f"nothing is left: {children(shim.pid)}")


def test_its_timer_holds_neither_while_it_runs(shim: Parked) -> None:
    """... under whatever number: shells keep copies of what they are to restore."""
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    eventually(lambda: any("sleep" in line for line in children(shim.pid).values()), AT_ONCE, "it waits")
    for pid in set(children(shim.pid)) - {shim.pid}:
        eventually(lambda pid=pid: not holds(pid, shim), AT_ONCE, "closed")  # type: ignore[misc]
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)


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


def test_where_exit_shows_by_the_pipes_mode_it_makes_no_timer_and_reads_nothing(shim: Parked) -> None:
    """The line may have been read already, just before the signal."""
    os.fchmod(shim.wake, 0o1600)
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    shim.ends(AT_ONCE)
    assert shim.rest() == b""
    assert children(shim.pid) == {}


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
