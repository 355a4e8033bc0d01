"""What happens to the programs: each in turn is killed, stopped or restarted, at random."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

import trio

from tests.harness.stack import Stack
from tests.harness.wait import eventually
from tests.soak.journal import DOCKERD, ENVOY, SHIM, Endpoint, Journal
from tests.soak.lanes import Bag
from tests.soak.slot import Now, Slot

# How often each is drawn; in the last part of the soak only those after which the registrar is the same one,
# so that its memory can be compared.
ALL = {
    "registrar_killed": 4,
    "registrar_terminated": 2,
    "registrar_frozen": 2,
    "envoy_killed": 2,
    "shim_killed": 4,
    "dockerd_killed": 1,
    "dockerd_restarted": 1,
}
CALM = {"registrar_frozen": 1, "shim_killed": 3}
PAUSE = (1.5, 4.0)  # between two faults (seconds)
AWAY = (0.1, 2.5)  # how long a program is away
FROZEN = (0.3, 2.5)
SHIM_TIMEOUT = 1.0  # a killed shim's binding is gone by then: the README's promise


class Faults:
    """``idle`` is held while a fault is under way."""

    def __init__(
        self,
        stack: Stack,
        slots: Sequence[Slot],
        journal: Journal,
        rng: random.Random,
        events: Counter[str],
    ) -> None:
        self.idle = trio.Lock()
        self.calm = trio.Event()
        self._events = events
        self.phase = "all up"
        self.late_shims: list[str] = []  # bindings of killed shims that stayed too long
        self._stack = stack
        self._slots = slots
        self._journal = journal
        self._rng = rng

    async def run(self) -> None:
        """For ever; what is begun when it is cancelled is finished."""
        everything, calm = Bag(ALL, self._rng), Bag(CALM, self._rng)
        while True:
            await trio.sleep(self._rng.uniform(*PAUSE))
            with trio.CancelScope(shield=True):
                async with self.idle:
                    fault = (calm if self.calm.is_set() else everything).draw()
                    self._events[f"fault: {fault}"] += 1
                    await getattr(self, fault)()

    @contextlib.contextmanager
    def _while(self, phase: str) -> Iterator[None]:
        self.phase = phase
        try:
            yield
        finally:
            self.phase = "all up"

    # -- the registrar ---------------------------------------------------------------------------

    async def registrar_killed(self) -> None:
        await self._registrar_away(signal.SIGKILL)

    async def registrar_terminated(self) -> None:
        await self._registrar_away(signal.SIGTERM)

    async def _registrar_away(self, number: signal.Signals) -> None:
        absence = self._journal.registrar_goes(trio.current_time())
        with self._while("the registrar is away"):
            await trio.to_thread.run_sync(self._stack.registrar.end, number)
            await trio.sleep(self._rng.uniform(*AWAY))
            await trio.to_thread.run_sync(self._stack.registrar.start)
        absence.mended = trio.current_time()

    async def registrar_frozen(self) -> None:
        absence = self._journal.registrar_goes(trio.current_time())
        with self._while("the registrar stands still"):
            os.kill(self._stack.registrar.pid, signal.SIGSTOP)
            await trio.sleep(self._rng.uniform(*FROZEN))
            os.kill(self._stack.registrar.pid, signal.SIGCONT)
        absence.mended = trio.current_time()

    # -- the others ------------------------------------------------------------------------------

    async def envoy_killed(self) -> None:
        window = self._journal.open(ENVOY, trio.current_time())
        with self._while("Envoy is away"):
            await trio.to_thread.run_sync(self._stack.envoy.kill)
            await trio.sleep(self._rng.uniform(*AWAY))
            await trio.to_thread.run_sync(self._stack.envoy.start)
        window.mended = trio.current_time()

    async def dockerd_killed(self) -> None:
        async with self._all_slots():
            with self._while("dockerd is away"):
                absence = self._journal.dockerd_goes(trio.current_time())
                await trio.to_thread.run_sync(self._stack.dockerd.kill)
                await trio.sleep(self._rng.uniform(*AWAY))
                await self._dockerd_comes_back()
                absence.mended = trio.current_time()

    async def dockerd_restarted(self) -> None:
        """As a package's upgrade does; the containers live on here too."""
        async with self._all_slots():
            with self._while("dockerd is away"):
                absence = self._journal.dockerd_goes(trio.current_time())
                await trio.to_thread.run_sync(self._stack.dockerd.stop)
                await self._dockerd_comes_back()
                absence.mended = trio.current_time()

    async def _dockerd_comes_back(self) -> None:
        window = self._journal.open(DOCKERD, trio.current_time())
        await trio.to_thread.run_sync(self._stack.dockerd.start)
        window.mended = trio.current_time()

    @contextlib.asynccontextmanager
    async def _all_slots(self) -> AsyncIterator[None]:
        """Docker is asked for nothing meanwhile."""
        async with contextlib.AsyncExitStack() as held:
            for slot in self._slots:
                await held.enter_async_context(slot.lock)
            yield

    async def shim_killed(self) -> None:
        slot = self._rng.choice([slot for slot in self._slots if slot.spec.fixed])
        async with slot.lock:
            if slot.state is not Now.RUNNING:
                await (slot.run() if slot.state is Now.ABSENT else slot.start())
            if slot.state is not Now.RUNNING:
                return
            proxies = await trio.to_thread.run_sync(self._stack.dockerd.proxies)
            endpoint = self._rng.choice(sorted(slot.places))
            (victim,) = [pid for pid, argv in proxies.items() if _serves(argv, endpoint)]
            window = self._journal.open(SHIM, trio.current_time(), frozenset({endpoint}))
            os.kill(victim, signal.SIGKILL)
            await trio.to_thread.run_sync(self._binding_goes, victim)
            # Nothing else has happened: the container's other ports must be served all the time.
            await trio.sleep(self._rng.uniform(0.1, 0.5))
            await slot.restart()
            window.mended = trio.current_time()

    def _binding_goes(self, pid: int) -> None:
        began = time.monotonic()
        bindings = self._stack.registrar.bindings
        eventually(lambda: all(b["pid"] != pid for b in bindings()), 20, f"the binding of shim {pid} goes")
        if (took := time.monotonic() - began) > SHIM_TIMEOUT:
            self.late_shims.append(f"{took:.2f} s")


def _serves(argv: list[str], endpoint: Endpoint) -> bool:
    at = {flag: argv[argv.index(flag) + 1] for flag in ("-proto", "-host-ip", "-host-port")}
    ip = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at["-host-ip"], at["-host-ip"])
    proto = "udp" if endpoint.kind == "udp" else "tcp"
    return (at["-proto"], ip, at["-host-port"]) == (proto, endpoint.ip, str(endpoint.port))
