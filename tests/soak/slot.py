"""One container place: what Docker is told to do with it, and what the journal is told of that."""

import contextlib
import math
import os
import signal
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

import trio

from tests.harness.docker import Dockerd
from tests.soak.clients import Clients, UdpClient, ask_tcp
from tests.soak.journal import CONTAINER, Endpoint, Journal
from tests.soak.specs import Spec, endpoints_of

# A container that does not answer on its own address by then (seconds) is not our fault, but ends the soak.
READY_TIMEOUT = 20.0

# Refusals of Docker's that nobody need look into: the first is documented, and happens only while the
# registrar is away; the second is between runc and the kernel, which gives up on a busy container (once in
# some thousand pauses here), and neither a shim nor a port has a part in it.
HELD_BY_ENVOY = "address already in use, stopped while the registrar was away"
NOT_FROZEN = "runc could not freeze the container"
EXCUSED = frozenset((HELD_BY_ENVOY, NOT_FROZEN))


class Now(Enum):
    ABSENT = "absent"
    STOPPED = "stopped"
    RUNNING = "running"


class Slot:
    """``lock`` is held by whoever works on the container."""

    def __init__(self, spec: Spec, dockerd: Dockerd, journal: Journal, clients: Clients) -> None:
        self.spec = spec
        self.lock = trio.Lock()
        self.state = Now.ABSENT
        self.places: dict[Endpoint, int] = {}  # where it is published, or was: container port
        self.refusals: Counter[str] = Counter()  # by Docker, with its reason
        self._dockerd = dockerd
        self._journal = journal
        self._clients = clients
        self._serial = 0
        self._left = (math.inf, math.inf)  # from when until when its ports were let go last

    @property
    def container(self) -> str:
        return f"{self.spec.name}.{self._serial}"

    # -- events ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """A new container, with words of its own."""
        self._serial += 1
        command = ["run", "-d", "--name", self.container, *self.spec.arguments(self.container)]
        async with self._change(self.places if self.spec.fixed else {}):
            if await self._told(self._docker, *command):
                await self._comes_up()
            else:
                await self._docker("rm", "--force", self.container)
                self._gone(Now.ABSENT)

    async def remove(self) -> None:
        async with self._change(self.places):
            await self._told(self._docker, "rm", "--force", self.container)
            self._gone(Now.ABSENT)

    async def recreate(self) -> None:
        """The same ports at once for another container, as `docker compose up --force-recreate` does."""
        old, self._serial = self.container, self._serial + 1
        async with self._change(self.places):
            await self._docker("create", "--name", self.container, *self.spec.arguments(self.container))
            self._left = (trio.current_time(), math.inf)
            await self._told(self._docker, "stop", old)
            await self._told(self._docker, "rm", old)
            self._vacate()
            if await self._told(self._docker, "start", self.container):
                await self._comes_up()
            else:
                self._gone(Now.STOPPED)

    async def start(self) -> None:
        async with self._change(self.places if self.spec.fixed else {}):
            if await self._told(self._call, "start"):
                await self._comes_up()
            else:
                self._gone(Now.STOPPED)

    async def stop(self) -> None:
        async with self._change(self.places):
            self._left = (trio.current_time(), math.inf)
            await self._told(self._call, "stop?t=0")
            self._gone(Now.STOPPED)

    async def kill(self) -> None:
        async with self._change(self.places):
            self._left = (trio.current_time(), math.inf)
            await self._told(self._call, "kill")
            await self._until(lambda state: not state["Running"])
            self._gone(Now.STOPPED)

    async def crash(self) -> None:
        """Its process dies by itself; Docker starts it again where it was told to."""
        async with self._change(self.places):
            before = await self._inspect()
            self._left = (trio.current_time(), math.inf)
            os.kill(before["State"]["Pid"], signal.SIGKILL)
            if self.spec.revives:
                old = before["State"]["Pid"]
                await self._until(lambda state: _runs_again(state, old) or _given_up(state))
                state = (await self._inspect())["State"]
                if _given_up(state):
                    # Docker tries once, and leaves it down if its port is not free at that moment.
                    self._refused(f"to start it again: {state['Error']}")
                    self._gone(Now.STOPPED)
                else:
                    await self._comes_up()
            else:
                await self._until(lambda state: not state["Running"])
                self._gone(Now.STOPPED)

    async def restart(self) -> None:
        async with self._change(self.places):
            self._left = (trio.current_time(), math.inf)
            if await self._told(self._call, "restart?t=0"):
                await self._comes_up()
            else:
                self._gone(Now.STOPPED)

    async def pause(self, seconds: float) -> None:
        async with self._change(self.places):
            if await self._told(self._call, "pause"):
                await trio.sleep(seconds)
                await self._told(self._call, "unpause")

    # -- what they have in common ----------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _change(self, places: dict[Endpoint, int]) -> Any:
        window = self._window = self._journal.open(CONTAINER, trio.current_time(), frozenset(places))
        try:
            yield
        finally:
            window.mended = trio.current_time()

    async def _comes_up(self) -> None:
        """It runs: from now on clients ask it, and it has to answer them once it does so by itself."""
        found = await self._inspect()
        places = endpoints_of(self.spec, found["NetworkSettings"]["Ports"])
        if not self.spec.fixed:
            self._vacate()
        self.places = places
        self._window.widen(frozenset(places))
        for endpoint, number in places.items():
            # It may have answered before Docker said where it is published.
            self._journal.occupy(endpoint, f"{self.container}:{number}", self._window.begin)
            self._clients.watch(endpoint)
        self.state = Now.RUNNING
        (network,) = found["NetworkSettings"]["Networks"].values()
        with trio.fail_after(READY_TIMEOUT):
            for kind, number in sorted({(endpoint.kind, number) for endpoint, number in places.items()}):
                await answers_itself(
                    Endpoint(kind, network["IPAddress"], number), f"{self.container}:{number}"
                )

    def _gone(self, state: Now) -> None:
        self._vacate()
        self.state = state
        self._left = (self._window.begin, trio.current_time())

    def _vacate(self) -> None:
        for endpoint in self.places:
            self._journal.vacate(endpoint, trio.current_time())

    async def _inspect(self) -> Any:
        return await trio.to_thread.run_sync(self._dockerd.api, f"/containers/{self.container}/json")

    async def _until(self, met: Callable[[Any], bool]) -> None:
        with trio.fail_after(READY_TIMEOUT):
            while not met((await self._inspect())["State"]):
                await trio.sleep(0.02)

    async def _docker(self, *args: str) -> None:
        await trio.to_thread.run_sync(self._dockerd.docker, *args)

    async def _call(self, verb: str) -> None:
        await trio.to_thread.run_sync(self._dockerd.api, f"/containers/{self.container}/{verb}", "POST")

    async def _told(self, tell: Callable[..., Any], *args: str) -> bool:
        """Whether Docker did it; if not, its reason is counted."""
        try:
            await tell(*args)
        except AssertionError as error:
            self._refused(str(error))
            return False
        return True

    def _refused(self, why: str) -> None:
        in_use = "address already in use" in why
        excused = in_use and self._journal.left_behind(self._left, self._window.begin)
        if "OCI runtime pause failed: unable to freeze" in why:
            why = NOT_FROZEN
        self.refusals[HELD_BY_ENVOY if excused else why] += 1


def _runs_again(state: Any, old: int) -> bool:
    return bool(state["Running"]) and state["Pid"] not in (0, old)


def _given_up(state: Any) -> bool:
    return bool(state["Error"]) and not state["Running"] and not state["Restarting"]


async def answers_itself(place: Endpoint, word: str) -> None:
    """Return once the container answers on its own address, past everything of ours."""
    udp = UdpClient(place)
    try:
        while True:
            _, said = await (udp.ask(0.2) if place.kind == "udp" else ask_tcp(place, 0.5))
            if said == word:
                return
            await trio.sleep(0.02)
    finally:
        udp.close()
