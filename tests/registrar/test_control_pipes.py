"""The shims' lines, through real pipes, up to their end; and what time does to a state."""

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from shim.registrar.control_pipes import ControlPipes
from shim.registrar.labelling import LABEL_TIMEOUT
from shim.registrar.releases import RELEASE_TIMEOUT
from shim.wire.words import EXIT
from tests.builders import QuietState, in_trio, make_binding, make_labelled, make_lease, open_fds

TOLD = f"{EXIT}\n".encode()


class Shim:
    """A shim's ends of its line; the registrar's are ``theirs``."""

    def __init__(self) -> None:
        lease_read, self.lease = os.pipe()
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        self.theirs = (lease_read, wake_write)

    def say(self, text: bytes) -> None:
        os.write(self.lease, text)

    def heard(self) -> bytes:
        try:
            return os.read(self.wake, 100)
        except BlockingIOError:
            return b""

    def die(self) -> None:
        os.close(self.lease)
        os.close(self.wake)


class Told:
    """What ControlPipes reported: (what, lease id)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        note = self._note
        self.control_pipes = ControlPipes(
            note("release"), note("orphan"), note("end"), note("parked"), lambda: None, self._line
        )

    def _line(self, lease_id: int, line: str) -> None:
        self.events.append((line, lease_id))

    def _note(self, what: str) -> Callable[[int], None]:
        return lambda lease_id: self.events.append((what, lease_id))

    async def settle(self) -> list[tuple[str, int]]:
        await trio.testing.wait_all_tasks_blocked()
        events, self.events = self.events, []
        return events


@asynccontextmanager
async def running(lines: ControlPipes) -> AsyncIterator[None]:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lines.run)
            yield
            nursery.cancel_scope.cancel()
    finally:
        lines.close()


@in_trio
async def test_what_a_relay_counts_is_heard_whole_and_hides_no_word() -> None:
    told, shim = Told(), Shim()
    async with running(told.control_pipes):
        told.control_pipes.add(7, *shim.theirs)
        shim.say(b"counted 1 2\ncounted 3")
        assert await told.settle() == [("counted 1 2", 7)]
        shim.say(b" 4\nparked\ncounted 5\nrelea")
        assert await told.settle() == [("counted 3 4", 7), ("counted 5", 7), ("parked", 7)]
        shim.say(b"se\n")
        assert await told.settle() == [("release", 7)]
        # More than is read at a time: nobody read for long.
        many = [f"counted {number}" for number in range(1000)]
        shim.say("".join(f"{line}\n" for line in many).encode() + b"orphan\n")
        assert await told.settle() == [*((line, 7) for line in many), ("orphan", 7)]
        shim.say(b"counted")
        shim.die()
        assert await told.settle() == [("end", 7)]


@in_trio
async def test_a_shim_says_release_or_orphan_and_its_end_is_heard_once() -> None:
    told, shim, before = Told(), Shim(), open_fds()
    async with running(told.control_pipes):
        told.control_pipes.add(7, *shim.theirs)
        shim.say(b"release\n")
        assert await told.settle() == [("release", 7)]
        shim.say(b"orphan\n")
        assert await told.settle() == [("orphan", 7)]
        shim.die()
        assert await told.settle() == [("end", 7)]
        assert await told.settle() == []
        assert len(told.control_pipes) == 0
    assert open_fds() == before - 5  # both pipes, and the set that watched them


@pytest.mark.parametrize("text", [b"x", b"\n", b"rele", b"\0\xff", b"RELEASE\n", b"x" * 60_000])
@in_trio
async def test_what_is_no_message_is_ignored_and_a_release_after_it_is_not(text: bytes) -> None:
    told, shim = Told(), Shim()
    async with running(told.control_pipes):
        told.control_pipes.add(7, *shim.theirs)
        shim.say(text)
        assert await told.settle() == []
        shim.say(b"release\n")
        assert await told.settle() == [("release", 7)]
        shim.die()
        assert await told.settle() == [("end", 7)]


@in_trio
async def test_the_last_words_of_a_shim_are_heard_before_its_end() -> None:
    told, shim = Told(), Shim()
    async with running(told.control_pipes):
        told.control_pipes.add(7, *shim.theirs)
        shim.say(b"release\n")
        shim.die()
        assert await told.settle() == [("release", 7), ("end", 7)]


@in_trio
async def test_many_shims_are_told_apart_and_leave_nothing_open() -> None:
    before = open_fds()
    told, shims = Told(), [Shim() for _ in range(200)]
    async with running(told.control_pipes):
        for number, shim in enumerate(shims):
            told.control_pipes.add(number, *shim.theirs)
        for shim in shims[::2]:
            shim.say(b"release\n")
        assert sorted(await told.settle()) == [("release", number) for number in range(0, 200, 2)]
        for shim in shims:
            shim.die()
        assert sorted(await told.settle()) == [("end", number) for number in range(200)]
    assert open_fds() == before


@in_trio
async def test_what_is_said_to_a_shim_arrives_and_to_a_dead_or_deaf_one_does_no_harm() -> None:
    told, shim, dead = Told(), Shim(), Shim()
    told.control_pipes.add(1, *shim.theirs)
    told.control_pipes.add(2, *dead.theirs)
    dead.die()
    for lease_id in (1, 2, 3):
        told.control_pipes.say(lease_id, EXIT)
    assert shim.heard() == TOLD
    for _ in range(20_000):  # more than a pipe takes
        told.control_pipes.say(1, EXIT)
    told.control_pipes.close()
    shim.die()


@pytest.mark.parametrize(
    ("envoy", "after"), [(False, 1.0), (True, RELEASE_TIMEOUT)], ids=["no envoy", "an envoy that sleeps"]
)
@in_trio
async def test_a_release_is_answered_within_bounded_time_whatever_envoy_does(
    envoy: bool, after: float
) -> None:
    """Without an Envoy: as soon as one that was there before the registrar would have come back."""
    state, shim = QuietState(), Shim()
    async with running(state.shims.control_pipes):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(state.keep_time)
            lease_id = state.shims.admit(os.getpid(), make_binding(), *shim.theirs)
            assert lease_id is not None
            lease = state.registry.get(lease_id)
            assert lease is not None
            state.label((lease, *make_labelled()))
            if envoy:
                state.poll("sleeper", "", 1)
            began = trio.current_time()
            shim.say(b"release\n")
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(10):
                while not (heard := shim.heard()):
                    await state.changed.wait()
            assert heard == TOLD
            assert trio.current_time() - began == pytest.approx(after, abs=0.01)
            shim.die()
            await trio.testing.wait_all_tasks_blocked()
            assert len(state.registry) == 0
            nursery.cancel_scope.cancel()


@in_trio
async def test_labels_that_nobody_tells_are_taken_to_be_none_and_time_costs_no_work_of_its_own() -> None:
    state, lease, wakes = QuietState(), make_lease(), 0
    state.registry.add(lease)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(state.keep_time)
        with trio.move_on_after(LABEL_TIMEOUT * 3):
            while True:
                await state.changed.wait()
                wakes += 1
        nursery.cancel_scope.cancel()
    assert lease.service is not None and lease.service.name == "172.17.0.2"
    assert wakes < 10 and not math.isfinite(state._deadlines.next(state.now()))
