"""A shim that is told to end while no registrar reads: it waits for one that is coming back, once a host."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from shim.wire.words import AWAY_SUFFIX, OWNER_SUFFIX, RELEASE_WAIT, RETURN_WAIT
from tests.harness.wait import eventually
from tests.proxy.parked import SHELLS, Parked, children, holds, parked

AT_ONCE = 1.0  # below RETURN_WAIT and RELEASE_WAIT
LEEWAY = 1.0


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def registrar(tmp_path: Path) -> Path:
    return been(tmp_path)


def been(directory: Path) -> Path:
    """The socket's path where a registrar has been, as it leaves its directory."""
    path = directory / "it's a $(dir)" / "registrar.sock"
    path.parent.mkdir(parents=True)
    path.with_name(path.name + OWNER_SUFFIX).symlink_to("101")
    return path


def in_every_shell(count: int = 1) -> Callable[[Callable[..., None]], Callable[[Path], None]]:
    """A test of a registrar's socket and ``count`` shims, which mostly waits: in all shells at the same time.

    All shims are there before it begins: a process that is just being started has the others' pipes open for
    a moment, as if there were a registrar.
    """

    def decorate(test: Callable[..., None]) -> Callable[[Path], None]:
        def run(tmp_path: Path) -> None:
            with ExitStack() as stack, ThreadPoolExecutor() as pool:
                places = {shell: been(tmp_path / shell) for shell in SHELLS}
                shims = {
                    shell: [stack.enter_context(parked(shell, place)) for _ in range(count)]
                    for shell, place in places.items()
                }
                tests = {shell: pool.submit(test, place, *shims[shell]) for shell, place in places.items()}
                for shell, outcome in tests.items():
                    print(f"in {shell}:")
                    outcome.result()

        return run

    return decorate


@pytest.fixture
def shim(shell: str, registrar: Path) -> Iterator[Parked]:
    """One whose registrar has just died."""
    with parked(shell, registrar) as process:
        process.leave()
        yield process


def mark(registrar: Path) -> Path:
    return registrar.with_name(registrar.name + AWAY_SUFFIX)


def waits(shim: Parked) -> None:
    """Return once it does so with its timer running."""
    eventually(lambda: any("sleep" in line for line in children(shim.pid).values()), AT_ONCE, "it waits")
    assert shim.runs()


# -- told to end -----------------------------------------------------------------------------------------


def test_it_asks_the_registrar_that_comes_back(shim: Parked, registrar: Path) -> None:
    shim.kill(signal.SIGINT)
    waits(shim)
    shim.take_up()
    shim.hear(b"release\n")
    assert shim.runs()
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    assert not mark(registrar).exists()


def test_it_asks_one_that_comes_back_and_tells_it_who_envoy_is(shim: Parked) -> None:
    shim.kill(signal.SIGINT)
    waits(shim)
    shim.take_up(b"owner 101\n\n")
    shim.hear(b"release\n")
    assert shim.runs()
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)


@in_every_shell()
def test_one_that_came_without_a_word_is_asked_in_the_end(registrar: Path, shim: Parked) -> None:
    """As one of an older version does."""
    shim.leave()
    shim.kill(signal.SIGINT)
    waits(shim)
    shim.take_up(b"")
    shim.hear(b"release\n")
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    assert not mark(registrar).exists()


def test_it_asks_again_where_the_registrar_died_that_it_had_asked(shell: str, registrar: Path) -> None:
    with parked(shell, registrar) as shim:
        shim.kill(signal.SIGINT)
        shim.hear(b"release\n")
        shim.leave()
        shim.take_up()
        shim.hear(b"release\n")
        os.write(shim.wake, b"exit\n")
        shim.ends(AT_ONCE)


@in_every_shell()
def test_it_waits_for_the_next_where_the_registrar_that_it_had_asked_is_gone(
    registrar: Path, shim: Parked
) -> None:
    began = time.monotonic()
    shim.kill(signal.SIGINT)
    shim.hear(b"release\n")
    shim.leave()
    eventually(lambda: time.monotonic() - began > RELEASE_WAIT + AT_ONCE / 2, RELEASE_WAIT + AT_ONCE)
    shim.take_up()
    shim.hear(b"release\n")
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    assert not mark(registrar).exists()


@in_every_shell(2)
def test_all_that_it_waits_has_a_bound(registrar: Path, silent: Parked, dead: Parked) -> None:
    """... also where the registrar that is back has nothing to say, and where it dies once asked."""
    bound = RETURN_WAIT + RELEASE_WAIT + LEEWAY
    silent.leave()
    silent.kill(signal.SIGINT)
    dead.kill(signal.SIGINT)
    dead.hear(b"release\n")
    dead.leave()
    waits(silent)
    silent.take_up()
    silent.ends(bound)
    dead.ends(bound)


def test_signals_do_not_disturb_the_wait(shim: Parked) -> None:
    shim.kill(signal.SIGINT)
    waits(shim)
    for _ in range(200):
        shim.kill(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)
    assert shim.runs()
    shim.take_up()
    shim.hear(b"release\n")
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)


def test_no_moment_is_a_wrong_one_for_a_registrar_to_come(shell: str, registrar: Path) -> None:
    for number in range(30):
        with parked(shell, registrar) as shim:
            shim.leave()
            shim.kill(signal.SIGINT)
            if number % 2:
                os.sched_yield()
            shim.take_up()
            shim.hear(b"release\n")
            os.write(shim.wake, b"exit\n")
            shim.ends(AT_ONCE)


@in_every_shell(20)
def test_of_many_one_waits_in_vain_and_the_others_do_not(registrar: Path, *shims: Parked) -> None:
    began = time.monotonic()
    for shim in shims:  # one after another, as dockerd does
        shim.leave()
        shim.kill(signal.SIGINT)
        shim.ends(RETURN_WAIT + LEEWAY)
    assert RETURN_WAIT < time.monotonic() - began < RETURN_WAIT + LEEWAY
    assert mark(registrar).exists()
    for shim in shims:
        eventually(lambda pid=shim.pid: not children(pid), AT_ONCE, "nothing is left")  # type: ignore[misc]


@pytest.mark.parametrize("lacking", ["link", "folder"])
def test_it_ends_at_once_where_no_registrar_has_been(shell: str, registrar: Path, lacking: str) -> None:
    registrar.with_name(registrar.name + OWNER_SUFFIX).unlink()
    if lacking == "folder":
        registrar.parent.rmdir()
    with parked(shell, registrar) as shim:
        shim.leave()
        shim.kill(signal.SIGINT)
        shim.ends(AT_ONCE)
        assert not mark(registrar).exists()


# -- its dockerd dies ------------------------------------------------------------------------------------


@in_every_shell()
def test_an_orphan_stays_for_the_registrar_that_comes_back(registrar: Path, shim: Parked) -> None:
    stays(registrar, shim, 1)


@in_every_shell()
def test_an_orphan_that_is_told_twice_stays_too(registrar: Path, shim: Parked) -> None:
    stays(registrar, shim, 2)


def stays(registrar: Path, shim: Parked, times: int) -> None:
    shim.leave()
    shim.kill(*[signal.SIGTERM] * times)
    waits(shim)
    for pid in set(children(shim.pid)) - {shim.pid}:
        eventually(lambda pid=pid: not holds(pid, shim), AT_ONCE, "its timer holds nothing")  # type: ignore[misc]
    shim.take_up(b"")
    shim.hear(b"orphan\n")
    shim.say(b"still there?\n")
    assert shim.runs()
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)
    assert not mark(registrar).exists()


@in_every_shell()
def test_an_orphan_without_a_registrar_ends_in_time(registrar: Path, shim: Parked) -> None:
    shim.leave()
    shim.kill(signal.SIGTERM, signal.SIGTERM)
    assert shim.ends(RETURN_WAIT + LEEWAY) > AT_ONCE
    assert mark(registrar).exists()


def test_an_orphan_can_be_told_to_end(shim: Parked) -> None:
    shim.kill(signal.SIGTERM, signal.SIGTERM)
    waits(shim)
    shim.kill(signal.SIGINT)
    shim.take_up()
    shim.hear(b"release\n")
    os.write(shim.wake, b"exit\n")
    shim.ends(AT_ONCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_where_another_has_waited_in_vain_it_ends_at_once(
    shim: Parked, registrar: Path, number: signal.Signals
) -> None:
    mark(registrar).touch()
    with contextlib.suppress(ProcessLookupError):
        shim.kill(number)
    shim.ends(AT_ONCE)
    assert children(shim.pid) == {}
