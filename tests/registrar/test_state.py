"""What becomes of shims that are found, that lose their dockerd, or that somebody ends; real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from shim.core.binding import Binding
from shim.core.resources import HttpOptions
from shim.core.templates import Templates
from shim.processes import Shim as Found
from shim.processes import start_time_of
from shim.registrar import orphans
from shim.registrar import state as module
from shim.registrar.farewells import ENVOY_RETURN
from shim.registrar.line import EXIT
from shim.registrar.orphans import DOUBT, RETURN
from shim.registrar.state import RESYNC_PATIENCE, State
from tests.builders import make_binding, make_flags, make_service


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """A real process that somebody may take for a shim, and the two ends of its line."""

    def __init__(self, port: int, clean: ExitStack) -> None:
        self.binding: Binding = make_binding(port=port)
        self._process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        clean.callback(self.end)
        self.pid = self._process.pid
        self.lease_read, self.lease = os.pipe()
        self.wake, self.wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        clean.callback(os.close, self.lease)
        clean.callback(os.close, self.wake)

    def end(self) -> None:
        if self._process.returncode is None:
            self._process.communicate()

    def told(self) -> bytes:
        try:
            return os.read(self.wake, 100)
        except BlockingIOError:
            return b""

    def found(self, started: int | None = None) -> Found:
        """As /proc shows it."""
        real = start_time_of(self.pid) if started is None else started
        return Found(self.pid, real, make_flags(self.binding), self.binding)


@pytest.fixture
def clean() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock, clean: ExitStack) -> State:
    made = State(Templates(HttpOptions()), "http", clock)
    clean.callback(made.lines.close)
    return made


@pytest.fixture
def shims(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """What /proc shows; this machine's own shims, if there are any, are left alone."""
    seen: list[Found] = []
    monkeypatch.setattr(module, "find_shims", lambda: iter(seen))
    return seen


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def lines(monkeypatch: pytest.MonkeyPatch, *processes: Process) -> None:
    """Their lines can be opened through /proc, each time anew."""
    ends = {process.pid: (process.lease_read, process.wake_write) for process in processes}

    def open_line(pid: int) -> tuple[int, int]:
        if pid not in ends:
            raise PermissionError(f"process {pid} is not ours")
        lease, wake = ends[pid]
        return os.dup(lease), os.dup(wake)

    monkeypatch.setattr(module, "open_line", open_line)


# -- recovery ------------------------------------------------------------------------------------------


def test_what_can_be_taken_up_is_and_once_only(
    state: State, shims: list[Found], clean: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, foreign, other = (Process(port, clean) for port in (1, 2, 3))
    lines(monkeypatch, one, other)
    shims += [one.found(), foreign.found(), other.found()]
    assert state.recover() == (2, 1)
    before = open_fds()
    assert state.recover() == (0, 1)
    assert open_fds() == before
    assert {lease.binding for lease in state.registry} == {one.binding, other.binding}
    assert {lease.pid for lease in state.registry} == {one.pid, other.pid}


def test_a_process_whose_number_is_anothers_now_is_not_taken_up(
    state: State, shims: list[Found], clean: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... nor one that has ended meanwhile; and nothing stays open."""
    reused, gone = Process(1, clean), Process(2, clean)
    lines(monkeypatch, reused, gone)
    shims += [reused.found(started=1), gone.found()]
    gone.end()
    before = open_fds()
    assert state.recover() == (0, 2)
    assert open_fds() == before
    assert len(state.registry) == 0


def test_envoys_are_answered_at_once_unless_resync_has_to_bring_some(
    state: State, clock: Clock, shims: list[Found], clean: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(monkeypatch)
    shims.append(Process(1, clean).found())
    assert state.recover() == (0, 1)
    state.settle()
    assert not state.settled
    clock.now += RESYNC_PATIENCE - 0.01
    state.settle()
    assert not state.settled
    clock.now += 0.01
    state.settle()
    assert state.settled


def test_a_shim_that_ended_meanwhile_is_nothing_that_envoys_wait_for(
    state: State, shims: list[Found], clean: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Process(1, clean)
    lines(monkeypatch, gone)
    shims.append(gone.found())
    gone.end()
    assert state.recover() == (0, 1)
    state.settle()
    assert state.settled


def test_a_port_that_docker_names_and_no_lease_is_for_is_looked_for(
    state: State, shims: list[Found], clean: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    state.search_again(lambda: found.append("nothing"))
    assert not found
    assert not state.shim_missed.is_set()
    missed = Process(1, clean)
    lines(monkeypatch, missed)
    shims.append(missed.found())
    state.search_again(lambda: found.append("one"))
    assert found == ["one"]
    assert state.shim_missed.is_set()


# -- orphans and doubts --------------------------------------------------------------------------------


class Served:
    """A shim with a lease, whose parent's number the test decides."""

    def __init__(self, state: State, process: Process, monkeypatch: pytest.MonkeyPatch, parent: int) -> None:
        self.parent = parent
        monkeypatch.setattr(orphans, "parent_of", lambda pid: self.parent)
        monkeypatch.setattr(module, "origin_of", lambda pid: (self.parent, pid))
        lease_id = state.admit(process.pid, process.binding, process.lease_read, process.wake_write)
        assert lease_id is not None
        lease = state.registry.get(lease_id)
        assert lease is not None
        self.lease = lease


def past_envoys_return(state: State, clock: Clock) -> None:
    """From here on no Envoy means no Envoy."""
    clock.now = state.started_at + ENVOY_RETURN + 1


def test_a_shim_that_lost_its_dockerd_before_we_came_is_an_orphan(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(1, clean)
    served = Served(state, process, monkeypatch, parent=1)
    assert served.lease.orphan and state.orphans
    past_envoys_return(state, clock)
    state.touch()
    assert process.told() == b""
    state.let_orphans_go()
    assert process.told() == EXIT and served.lease.released


def test_the_shim_that_a_returning_dockerd_starts_is_named_without_asking(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... as the one before was, if it is for the same binding and comes soon."""
    former, next_one, late = (Process(1, clean) for _ in range(3))
    served = Served(state, former, monkeypatch, parent=1)
    service = make_service()
    state.label((served.lease, service))
    state.let_orphans_go()
    state._on_end(served.lease.id)
    successor = Served(state, next_one, monkeypatch, parent=78).lease
    assert successor.service == service
    assert Served(state, late, monkeypatch, parent=78).lease.service is None
    other = Process(2, clean)
    assert Served(state, other, monkeypatch, parent=78).lease.service is None


def test_a_heritage_does_not_wait_for_ever(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(state, Process(1, clean), monkeypatch, parent=1)
    state.label((served.lease, make_service()))
    state.let_orphans_go()
    state._on_end(served.lease.id)
    clock.now += RETURN
    assert Served(state, Process(1, clean), monkeypatch, parent=78).lease.service is None


def test_a_term_with_a_dead_dockerd_makes_an_orphan_that_serves_on(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(1, clean)
    served = Served(state, process, monkeypatch, parent=77)
    served.parent = 1
    state._on_orphan(served.lease.id)
    assert served.lease.orphan and state.orphans.news.is_set()
    past_envoys_return(state, clock)
    state.touch()
    assert process.told() == b""


def test_a_term_that_comes_a_moment_before_dockerds_end_makes_an_orphan_too(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(1, clean)
    served = Served(state, process, monkeypatch, parent=77)
    state.docker_reachable = True
    past_envoys_return(state, clock)
    state._on_orphan(served.lease.id)
    assert not served.lease.orphan
    served.parent = 1
    clock.now += DOUBT / 2
    state.touch()
    assert state.orphans
    assert process.told() == b""


@pytest.mark.parametrize("parent", [77, 0], ids=["dockerd lives", "dockerd cannot be seen"])
def test_a_term_that_somebody_sent_to_one_shim_ends_it_after_a_doubt(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch, parent: int
) -> None:
    process = Process(1, clean)
    served = Served(state, process, monkeypatch, parent=77)
    served.parent = parent
    state.docker_reachable = True
    past_envoys_return(state, clock)
    state._on_orphan(served.lease.id)
    clock.now += DOUBT - 0.01
    state.touch()
    assert process.told() == b""
    clock.now += 0.01
    state.touch()
    assert not served.lease.orphan
    assert process.told() == EXIT


def test_a_doubt_lasts_while_docker_cannot_be_reached_and_ends_with_its_lease(
    state: State, clean: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(1, clean)
    served = Served(state, process, monkeypatch, parent=77)
    past_envoys_return(state, clock)
    state._on_orphan(served.lease.id)
    for _ in range(3):
        clock.now += DOUBT
        state.touch()
        assert process.told() == b""
    state._on_end(served.lease.id)
    clock.now += DOUBT
    state.docker_reachable = True
    state.touch()
    assert process.told() == b"" and len(state.registry) == 0


def test_what_is_said_of_a_lease_that_is_gone_does_nothing(state: State) -> None:
    for heard in (state._on_release, state._on_orphan, state._on_end):
        heard(7)
    assert len(state.registry) == 0 and not state.orphans
