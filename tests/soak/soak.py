"""One soak: the machine, the tasks on it, and the figures."""

import json
import random
import shutil
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import trio

from tests.harness.stack import Stack
from tests.harness.wait import eventually
from tests.soak.clients import Clients
from tests.soak.ending import Ending
from tests.soak.faults import Faults
from tests.soak.journal import Journal
from tests.soak.lanes import Lane
from tests.soak.leaks import Usage, envoy_holds, usage
from tests.soak.slot import Slot
from tests.soak.specs import SPECS

LANES = 2
# The registrar stays the same process in the last part of the soak, to see what it keeps.
CALM_PART = 1 / 3
SAMPLE_EVERY = 5.0
HEARTBEAT = 0.05


class Sample(NamedTuple):
    at: float
    pid: int
    bindings: int
    usage: Usage


class Plan(NamedTuple):
    engine: str
    seconds: float
    seed: int
    promise: float  # how soon (seconds) all is well after a cause has gone


def soak(artifact: Path, plan: Plan, logs: Path | None) -> "Run":
    """Run it: what was seen, for the report."""
    with ExitStack() as clean:
        stack = clean.enter_context(Stack(artifact, plan.engine, "--live-restore", neighbour=True))
        eventually(lambda: '"node"' in stack.registrar.read("/status").text, 10, "Envoy is connected")
        run = Run(stack, plan)
        if logs is not None:
            clean.callback(keep_logs, stack, logs)
        # On a thread that is in the machine's namespace, and so are the sockets made there.
        stack.host.call(trio.run, run.main)
        ending = run.ending
        run.emptied = ending.empty(run.base)
        ending.grown(run.warm, run.emptied)
        ending.read_log()
        return run


def keep_logs(stack: Stack, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for log in (stack.registrar.log, stack.dockerd.log, stack.envoy.log):
        shutil.copy(log, directory)


class Run:
    def __init__(self, stack: Stack, plan: Plan) -> None:
        self.stack = stack
        self.plan = plan
        self.journal = Journal(plan.promise)
        self.events: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.ending = Ending(stack)
        self.slots: list[Slot] = []
        self.clients: Clients
        self.faults: Faults
        self.lag = 0.0  # by how much the machine was late at worst: what is late by that is its own doing
        eventually(lambda: _has_all_it_needs(json.loads(stack.registrar.read("/status").text)))
        self.base = usage(stack.registrar.pid)  # before there is any container
        self.emptied: Usage  # when all of them are gone
        self.warm: Usage  # once the registrar is the last one, with all containers
        self.full: Usage  # at the end, with all containers
        self.envoy: dict[str, dict[str, int]] = {}  # what it holds, at the same two moments

    def clock(self, moment: float) -> str:
        """A moment of trio's clock as the logs of the others have it."""
        wall = moment + self._to_wall
        return time.strftime("%H:%M:%S", time.localtime(wall)) + f"{wall % 1:.3f}"[1:]

    async def main(self) -> None:
        self._to_wall = time.time() - trio.current_time()
        async with trio.open_nursery() as asking:
            self.clients = Clients(self.journal, asking, lambda: self.faults.phase)
            self.slots = [Slot(spec, self.stack.dockerd, self.journal, self.clients) for spec in SPECS]
            self.faults = Faults(
                self.stack, self.slots, self.journal, random.Random(f"{self.plan.seed} faults"), self.events
            )
            lanes = [
                Lane(self.slots[n::LANES], random.Random(f"{self.plan.seed} lane {n}"), self.events)
                for n in range(LANES)
            ]
            await self._everything_runs(lanes)
            await self._disturb(lanes)
            await self._everything_runs(lanes)
            # Whatever was the last event's doing is over now: from here on every failure counts.
            await trio.sleep(2 * self.journal.promise)
            self.full = await trio.to_thread.run_sync(self.ending.compare)
            self.envoy["full, at the end"] = await trio.to_thread.run_sync(envoy_holds, self.stack)
            asking.cancel_scope.cancel()

    async def _everything_runs(self, lanes: list[Lane]) -> None:
        async with trio.open_nursery() as nursery:
            for lane in lanes:
                nursery.start_soon(lane.finish)

    async def _disturb(self, lanes: list[Lane]) -> None:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sample)
            nursery.start_soon(self._watch_the_machine)
            nursery.start_soon(self.faults.run)
            for lane in lanes:
                nursery.start_soon(lane.run)
            await trio.sleep_until(began + self.plan.seconds * (1 - CALM_PART))
            self.faults.calm.set()
            # The last fault may be under way still.
            async with self.faults.idle:
                pass
            await trio.sleep(min(SAMPLE_EVERY, self.plan.seconds * CALM_PART / 4))
            self.warm = usage(self.stack.registrar.pid)
            self.envoy["warm"] = await trio.to_thread.run_sync(envoy_holds, self.stack)
            await trio.sleep_until(began + self.plan.seconds)
            nursery.cancel_scope.cancel()

    async def _watch_the_machine(self) -> None:
        while True:
            due = trio.current_time() + HEARTBEAT
            await trio.sleep_until(due)
            self.lag = max(self.lag, trio.current_time() - due)

    async def _sample(self) -> None:
        began = time.monotonic()
        while True:
            async with self.faults.idle:  # the registrar is there
                bindings = await trio.to_thread.run_sync(self.stack.registrar.bindings)
                pid = self.stack.registrar.pid
                self.samples.append(Sample(time.monotonic() - began, pid, len(bindings), usage(pid)))
            await trio.sleep(SAMPLE_EVERY)


def _has_all_it_needs(status: dict[str, Any]) -> bool:
    """Whether the registrar has opened what it keeps open: for firewall, Docker, both of Envoy's polls."""
    polls = [envoy[kind]["acknowledged"] for envoy in status["envoys"] for kind in ("listeners", "clusters")]
    return bool(status["firewall"]["whole"] and status["docker"]["reachable"] and polls and all(polls))
