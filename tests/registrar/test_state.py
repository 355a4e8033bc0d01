"""What becomes of shims that are found, that lose their dockerd, or that somebody ends; real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shim.core.binding import Binding
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import MODES
from shim.core.envoy.templates import Templates
from shim.host.procfs import Probes, start_time
from shim.host.procfs import Shim as Found
from shim.registrar.orphans import RETURN, SUSPECT_TIMEOUT
from shim.registrar.releases import ENVOY_RETURN
from shim.registrar.settling import RESYNC_TIMEOUT
from shim.registrar.state import State
from shim.wire.words import EXIT
from tests.builders import make_binding, make_flags, make_labelled, open_fds


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
        real = start_time(Path("/proc", str(self.pid))) if started is None else started
        return Found(self.pid, real, make_flags(self.binding), self.binding)


@pytest.fixture
def clean() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def clock() -> Clock:
    return Clock()


class FakeProc:
    """What /proc shows: this machine's own shims, if there are any, are left alone."""

    def __init__(self) -> None:
        self.shims: list[Found] = []
        self.pipes: dict[int, tuple[int, int]] = {}  # process -> its ends
        self.parent = 77
        self.probes = Probes(lambda: iter(self.shims), self._open, self._origin, lambda pid: self.parent)

    def _open(self, shim: Found) -> tuple[int, int]:
        if shim.pid not in self.pipes:
            raise PermissionError(f"process {shim.pid} is not ours")
        if start_time(Path("/proc", str(shim.pid))) != shim.started:
            raise OSError("the process has ended")
        lease, wake = self.pipes[shim.pid]
        return os.dup(lease), os.dup(wake)

    def _origin(self, pid: int) -> tuple[int, int]:
        return self.parent, pid

    def show(self, *found: Found) -> None:
        self.shims += found

    def let_in(self, *processes: Process) -> None:
        """Their pipes can be opened, each time anew."""
        self.pipes.update({process.pid: (process.lease_read, process.wake_write) for process in processes})


@pytest.fixture
def proc() -> FakeProc:
    return FakeProc()


@pytest.fixture
def state(clock: Clock, clean: ExitStack, proc: FakeProc) -> State:
    made = State(Templates(HttpOptions()), MODES["http"], clock, proc.probes)
    clean.callback(made.shims.control_pipes.close)
    return made


# -- recovery ------------------------------------------------------------------------------------------


def test_what_can_be_taken_up_is_and_once_only(state: State, proc: FakeProc, clean: ExitStack) -> None:
    one, foreign, other = (Process(port, clean) for port in (1, 2, 3))
    proc.let_in(one, other)
    proc.show(one.found(), foreign.found(), other.found())
    assert state.recover() == (2, 1)
    before = open_fds()
    assert state.recover() == (0, 1)
    assert open_fds() == before
    assert {lease.binding for lease in state.registry} == {one.binding, other.binding}
    assert {lease.pid for lease in state.registry} == {one.pid, other.pid}


def test_a_process_whose_number_is_anothers_now_is_not_taken_up(
    state: State, proc: FakeProc, clean: ExitStack
) -> None:
    """... nor one that has ended meanwhile; and nothing stays open."""
    reused, gone = Process(1, clean), Process(2, clean)
    proc.let_in(reused, gone)
    proc.show(reused.found(started=1), gone.found())
    gone.end()
    before = open_fds()
    assert state.recover() == (0, 2)
    assert open_fds() == before
    assert len(state.registry) == 0


def test_envoys_are_answered_at_once_unless_resync_has_to_bring_some(
    state: State, clock: Clock, proc: FakeProc, clean: ExitStack
) -> None:
    proc.let_in()
    proc.show(Process(1, clean).found())
    assert state.recover() == (0, 1)
    state.settle()
    assert not state.settling.settled
    clock.now += RESYNC_TIMEOUT - 0.01
    state.settle()
    assert not state.settling.settled
    clock.now += 0.01
    state.settle()
    assert state.settling.settled


def test_a_shim_that_ended_meanwhile_is_nothing_that_envoys_wait_for(
    state: State, proc: FakeProc, clean: ExitStack
) -> None:
    gone = Process(1, clean)
    proc.let_in(gone)
    proc.show(gone.found())
    gone.end()
    assert state.recover() == (0, 1)
    state.settle()
    assert state.settling.settled


def test_a_port_that_docker_names_and_no_lease_is_for_is_looked_for(
    state: State, proc: FakeProc, clean: ExitStack
) -> None:
    assert not state.search_again()
    assert not state.shims.missed.consume()
    missed = Process(1, clean)
    proc.let_in(missed)
    proc.show(missed.found())
    assert state.search_again()
    assert state.shims.missed.consume()


# -- orphans and doubts --------------------------------------------------------------------------------


class Served:
    """A shim with a lease, whose parent's number the test decides."""

    def __init__(self, state: State, process: Process, proc: FakeProc, parent: int) -> None:
        proc.parent = parent
        lease_id = state.shims.admit(process.pid, process.binding, process.lease_read, process.wake_write)
        assert lease_id is not None
        lease = state.registry.get(lease_id)
        assert lease is not None
        self.lease = lease


def past_envoys_return(state: State, clock: Clock) -> None:
    """From here on no Envoy means no Envoy."""
    clock.now = state.started_at + ENVOY_RETURN + 1


def test_a_shim_that_lost_its_dockerd_before_we_came_is_an_orphan(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc
) -> None:
    process = Process(1, clean)
    served = Served(state, process, proc, parent=1)
    assert served.lease.orphan and state.shims.orphans
    past_envoys_return(state, clock)
    state.touch()
    assert process.told() == b""
    state.dismiss_orphans()
    assert process.told() == f"{EXIT}\n".encode() and served.lease.released


def test_the_shim_that_a_returning_dockerd_starts_is_named_without_asking(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc
) -> None:
    """... as the one before was, if it is for the same binding and comes soon."""
    former, next_one, late = (Process(1, clean) for _ in range(3))
    served = Served(state, former, proc, parent=1)
    service, serving = make_labelled()
    state.label((served.lease, service, serving))
    state.dismiss_orphans()
    state.shims._ended(served.lease.id)
    successor = Served(state, next_one, proc, parent=78).lease
    assert successor.labelled == (service, serving)
    assert Served(state, late, proc, parent=78).lease.service is None
    other = Process(2, clean)
    assert Served(state, other, proc, parent=78).lease.service is None


def test_an_inherited_service_does_not_wait_for_ever(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc
) -> None:
    served = Served(state, Process(1, clean), proc, parent=1)
    state.label((served.lease, *make_labelled()))
    state.dismiss_orphans()
    state.shims._ended(served.lease.id)
    clock.now += RETURN
    assert Served(state, Process(1, clean), proc, parent=78).lease.service is None


def test_a_term_with_a_dead_dockerd_makes_an_orphan_that_serves_on(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc
) -> None:
    process = Process(1, clean)
    served = Served(state, process, proc, parent=77)
    proc.parent = 1
    state.shims._signalled(served.lease.id)
    assert served.lease.orphan and state.shims.orphans.dockerd_wanted.consume()
    past_envoys_return(state, clock)
    state.touch()
    assert process.told() == b""


def test_a_term_that_comes_a_moment_before_dockerds_end_makes_an_orphan_too(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc
) -> None:
    process = Process(1, clean)
    served = Served(state, process, proc, parent=77)
    state.docker.reachable = True
    past_envoys_return(state, clock)
    state.shims._signalled(served.lease.id)
    assert not served.lease.orphan
    proc.parent = 1
    clock.now += SUSPECT_TIMEOUT / 2
    state.touch()
    assert state.shims.orphans
    assert process.told() == b""


@pytest.mark.parametrize("parent", [77, 0], ids=["dockerd lives", "dockerd cannot be seen"])
def test_a_term_that_somebody_sent_to_one_shim_ends_it_after_a_doubt(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc, parent: int
) -> None:
    process = Process(1, clean)
    served = Served(state, process, proc, parent=77)
    proc.parent = parent
    state.docker.reachable = True
    past_envoys_return(state, clock)
    state.shims._signalled(served.lease.id)
    clock.now += SUSPECT_TIMEOUT - 0.01
    state.touch()
    assert process.told() == b""
    clock.now += 0.01
    state.touch()
    assert not served.lease.orphan
    assert process.told() == f"{EXIT}\n".encode()


def test_a_doubt_lasts_while_docker_cannot_be_reached_and_ends_with_its_lease(
    state: State, clean: ExitStack, clock: Clock, proc: FakeProc
) -> None:
    process = Process(1, clean)
    served = Served(state, process, proc, parent=77)
    past_envoys_return(state, clock)
    state.shims._signalled(served.lease.id)
    for _ in range(3):
        clock.now += SUSPECT_TIMEOUT
        state.touch()
        assert process.told() == b""
    state.shims._ended(served.lease.id)
    clock.now += SUSPECT_TIMEOUT
    state.docker.reachable = True
    state.touch()
    assert process.told() == b"" and len(state.registry) == 0


def test_what_is_said_of_a_lease_that_is_gone_does_nothing(state: State) -> None:
    for heard in (state.shims._released, state.shims._signalled, state.shims._ended):
        heard(7)
    assert len(state.registry) == 0 and not state.shims.orphans
