"""What Docker knows: a stream of events, and a list call for the containers that they name.

Docker tells a container's address only with its `start` event, so that is when labels are looked up;
never by asking for one container, which blocks while it starts.
"""

import json
import math
from collections.abc import AsyncIterator, Mapping

import httpx
import trio

from shim.core.docker.containers import Container, Port, addresses_of, publications, published_by
from shim.core.docker.labels import said_of, service_of
from shim.core.envoy.modes import Serving
from shim.core.leases.lease import Lease
from shim.core.leases.unlabelled import Unlabelled
from shim.core.service import Service
from shim.registrar.dockerd import DockerdPresence
from shim.registrar.state import State

# How long Docker may take to answer (seconds).
CALL_TIMEOUT = 5.0
# Pauses (seconds) before the registrar connects again: doubled from the first to the last.
RETRY_FIRST, RETRY_LAST = 0.1, 2.0
# How often a new dockerd is looked for (seconds) while orphans hold ports that it will want, and otherwise.
RETURN_LOOK = 0.05
LOOK = 0.5
# When a container without labels is asked about, in seconds after its last shim came: normally its `start`
# event has come by then, but it may have been handled just before the shim was there.
ASK_AFTER = (0.5, 2.0, 5.0, math.inf)
# Lookups due within this (seconds) are batched: each lists all of Docker's containers.
TOGETHER = 0.1
# Bytes of one event, and characters of a container's id: more is no answer of Docker's.
EVENT_LIMIT = 1 << 20
ID_LIMIT = 128
# Containers that one call asks for by id.
IDS_LIMIT = 200


class UnexpectedAnswer(Exception):
    """Docker's API answered with a status or a content that it does not have."""


FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnexpectedAnswer, OSError)


def client_for(docker_host: str) -> httpx.AsyncClient:
    """A client for DOCKER_HOST (``unix:///path`` or ``tcp://host:port``).

    There is no TLS in either; without ``verify=False`` httpx reads 3 MB of certificates all the same.
    """
    scheme, _, rest = docker_host.partition("://")
    timeout = httpx.Timeout(CALL_TIMEOUT)
    if scheme == "unix":
        transport = httpx.AsyncHTTPTransport(uds=rest, verify=False)
        return httpx.AsyncClient(transport=transport, base_url="http://docker", timeout=timeout)
    return httpx.AsyncClient(base_url=f"http://{rest}", timeout=timeout, trust_env=False, verify=False)


class Docker:
    """Labels every lease of ``state`` from what ``client``'s Docker says."""

    def __init__(self, client: httpx.AsyncClient, state: State, docker_host: str = "") -> None:
        self._client = client
        unix = docker_host.startswith("unix://")
        self._presence = DockerdPresence(docker_host.removeprefix("unix://") if unix else "")
        self._state = state
        self._health = state.docker
        self._started: set[str] = set()

    async def run(self) -> None:
        """Follow Docker; reconnect when the connection ends or cannot be made.  Does not return."""
        pause = RETRY_FIRST
        while True:
            await self._wait_for_dockerd()
            was_reachable = False
            try:
                await self._follow()
            except FAILURES as error:
                was_reachable = self._health.reachable
                self._health.failed(_reason(error))
            pause = RETRY_FIRST if was_reachable else min(pause * 2, RETRY_LAST)
            await self._pause(pause)

    async def _wait_for_dockerd(self) -> None:
        """Return once a dockerd listens; dismiss the shims of its predecessor, whose ports it wants.

        A dockerd that starts listens long before it answers, and binds the ports of the containers that lived
        on in between: by then the old shims must have released them.
        """
        while not await self._presence.there():
            self._health.failed("no dockerd listens")
            await self._pause(RETURN_LOOK if self._state.shims.orphans else LOOK)
        self._state.dismiss_orphans()

    async def _pause(self, seconds: float) -> None:
        """Wait that long, or until a shim has lost its dockerd."""
        with trio.move_on_after(seconds):
            await self._state.shims.orphans.dockerd_wanted.wait()
        self._state.shims.orphans.dockerd_wanted.consume()

    async def _follow(self) -> None:
        """One connection's life: subscribe first, then list, so that nothing falls between."""
        filters = json.dumps({"type": ["container"], "event": ["start"]})
        timeout = httpx.Timeout(CALL_TIMEOUT, read=None)
        request = self._client.build_request("GET", "/events", params={"filters": filters}, timeout=timeout)
        # dockerd sends its response head with the first event only, or at once, by version: the list
        # call must not wait for it.
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal failure
                try:
                    await self._listen(request)
                except FAILURES as error:
                    failure = error
                nursery.cancel_scope.cancel()

            async def look_up() -> None:
                nonlocal failure
                try:
                    await self._look_up_all()
                    await self._look_up_started()
                except FAILURES as error:
                    failure = error
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            nursery.start_soon(look_up)
        raise failure or UnexpectedAnswer("the event stream ended")

    async def _listen(self, request: httpx.Request) -> None:
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise UnexpectedAnswer(f"/events answered {response.status_code}")
            async for line in _lines(response):
                identity = _started_container(line)
                if identity:
                    self._started.add(identity)
                    self._state.labelling.wanted.set()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await response.aclose()

    async def _look_up_all(self) -> None:
        containers = await self._list(None)
        self._health.answered(len(containers))
        self._state.network.docker_came.set()
        self._state.dismiss_orphans()
        self._apply(containers)
        self._state.settle()

    async def _look_up_started(self) -> None:
        """Label what the events name, and ask about leases that no event has named."""
        state = self._state
        due = state.now()
        while True:
            with trio.move_on_after(max(0.0, due - state.now())):
                await state.labelling.wanted.wait()
                # Perhaps for a new container: it is asked about before those that were asked about already.
                due = min(due, state.now() + ASK_AFTER[0])
            state.labelling.wanted.consume()
            if self._started:
                # Containers that started meanwhile go into the same call.
                started, self._started = self._started, set()
                self._apply(await self._list(sorted(started)))
            elif due <= state.now():
                due = await self._ask_about_unlabelled()

    async def _ask_about_unlabelled(self) -> float:
        """Ask about the containers whose time has come; returns when to ask about the next (seconds)."""
        now = self._state.now()
        due = [container for container in self._state.registry.unlabelled() if _ask_at(container) <= now]
        for container in due:
            container.asked += 1
        if due:
            self._apply(await self._list(None))
        now = self._state.now()
        return max(now + TOGETHER, min(map(_ask_at, self._state.registry.unlabelled()), default=math.inf))

    async def _list(self, ids: list[str] | None) -> list[Container]:
        # Many ids make too long a URL; then it is quicker to ask for all.
        some = ids is not None and len(ids) <= IDS_LIMIT
        params = {"filters": json.dumps({"id": ids})} if some else {}
        try:
            # httpx's own limit is for each part of an answer, and there may be many.
            with trio.fail_after(CALL_TIMEOUT):
                response = await self._client.get("/containers/json", params=params)
        except trio.TooSlowError:
            raise UnexpectedAnswer(f"/containers/json did not answer within {CALL_TIMEOUT:g} s") from None
        try:
            containers = response.json()
        except (ValueError, RecursionError):
            containers = None
        if response.status_code != 200 or not isinstance(containers, list):
            raise UnexpectedAnswer(f"/containers/json answered {response.status_code} {response.text[:80]!r}")
        return [container for container in containers if isinstance(container, Mapping)]

    def _apply(self, containers: list[Container]) -> None:
        """Label the leases of these running containers."""
        state = self._state
        labelled: list[tuple[Lease, Service, Serving]] = []
        missing = False
        for container in containers:
            published = published_by(container)
            leases = [
                lease
                for address in addresses_of(container)
                for lease in state.registry.of_container(address)
                if (lease.binding.address.proto, lease.binding.address.port) in published
            ]
            known = {(lease.binding.address.proto, lease.binding.address.port) for lease in leases}
            if not published <= known:
                leases += self._on_a_hidden_network(container)
                known |= {(lease.binding.address.proto, lease.binding.address.port) for lease in leases}
            ports = [Port(lease.binding.backend.port, lease.binding.address.proto) for lease in leases]
            said = said_of(container, state.labelling.default, ports)
            labelled += [(lease, *said[port]) for lease, port in zip(leases, ports, strict=True)]
            missing = missing or not published <= known
        # Oldest first, whatever Docker's order: of several leases that could have a name the first gets it,
        # and after a restart it must be the same one.
        state.label(*sorted(labelled, key=lambda row: (row[0].order, row[0].binding.address)))
        if missing and state.search_again():
            self._apply(containers)

    def _on_a_hidden_network(self, container: Container) -> list[Lease]:
        """The leases of a container that are known by their published addresses only.

        A Swarm task on an overlay network publishes its ports from docker_gwbridge, and Docker's list does
        not say its address there.
        """
        identity, addresses = service_of(container).container_id, addresses_of(container)
        found = []
        for address, port in publications(container):
            lease = self._state.registry.at(address)
            if lease is None or lease.binding.backend.port != port or lease.binding.backend.ip in addresses:
                continue
            # That of another container may be about to end.
            if lease.service is None or lease.service.container_id in ("", identity):
                found.append(lease)
        return found


def _ask_at(container: Unlabelled) -> float:
    return container.since + ASK_AFTER[container.asked]


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    buffer = b""
    async for chunk in response.aiter_raw():
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        if len(buffer) > EVENT_LIMIT:
            raise UnexpectedAnswer("an event of more than a megabyte")
        for line in lines:
            yield line


def _started_container(line: bytes) -> str:
    """The id of the container that this event says has started, or an empty text."""
    if not line.strip():
        return ""
    try:
        event = json.loads(line)
        identity = event["Actor"]["ID"]
        action = event["Action"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UnexpectedAnswer(f"not an event: {line[:80]!r}") from None
    if not isinstance(identity, str) or len(identity) > ID_LIMIT:
        raise UnexpectedAnswer(f"not a container's id: {identity!r:.80}")
    return identity if action == "start" else ""


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
