"""What the registrar knows, put together: leases, Envoys, Docker's health, and what follows from any change.

All changes are synchronous.  The code that made one calls ``touch``; a task that waits for one waits for
``changed``, or for ``pushed`` of a kind of resources.
"""

import json
import logging
from collections.abc import Callable, Collection

import trio

from shim.core.binding import Address
from shim.core.discovery.sessions import Session, Sessions
from shim.core.endpoint import Endpoint
from shim.core.envoy.access_log import OFF
from shim.core.envoy.local_spans import spans_cluster
from shim.core.envoy.modes import Mode, Serving
from shim.core.envoy.templates import Templates
from shim.core.envoy.tracing import SPANS_CLUSTER
from shim.core.envoy_versions import OLDEST, is_too_old
from shim.core.firewall.table import USUAL, Keeping
from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry
from shim.core.leases.second_listeners import SecondListeners
from shim.core.leases.served import ServedAddresses
from shim.core.service import Service
from shim.host.procfs import PROBES, Probes
from shim.registrar.deadlines import Deadlines
from shim.registrar.docker_health import DockerHealth
from shim.registrar.events import Broadcast
from shim.registrar.labelling import Labelling
from shim.registrar.live_shims import LiveShims
from shim.registrar.network import Network
from shim.registrar.order import Order
from shim.registrar.pushes import KINDS, Pushes
from shim.registrar.second_refusals import SecondRefusals
from shim.registrar.settling import Settling
from shim.registrar.traces import LocalTraces
from shim.registrar.traffic import Traffic

log = logging.getLogger("envoy-docker-shim")

# An Envoy that an earlier registrar served is taken to be gone when it has not polled by then (seconds after
# the start of this one).
PREDECESSOR_TIMEOUT = 10.0


class State:
    """``clock`` gives seconds on a monotonic clock; ``probes`` look into /proc.

    ``fail_open``: network clients that find no Envoy go Docker's own way.  ``keeps_client``, ``second`` and
    ``keeping``: whether containers see their addresses, unless labels say it, and by which numbers.
    ``access_log``: one of ``access_log.WORDS``, unless labels say it.
    """

    def __init__(
        self,
        templates: Templates,
        default_mode: Mode,
        clock: Callable[[], float],
        probes: Probes = PROBES,
        fail_open: bool = True,
        keeps_client: bool = False,
        access_log: str = OFF,
        second: SecondListeners | None = None,
        keeping: Keeping = USUAL,
    ) -> None:
        self.now = clock
        self.started_at = clock()
        self.changed = Broadcast()
        self.pushed = {"clusters": Broadcast(), "listeners": Broadcast()}
        self._sequences = dict.fromkeys(self.pushed, 0)
        self.pushes = {kind: Pushes() for kind in KINDS}
        self.traces: LocalTraces | None = None
        self.docker = DockerHealth()
        self.sessions = Sessions()
        self.registry = Registry(self.sessions, templates.listener, templates.cluster, second)
        self.order = Order(self.registry)
        default = Serving(default_mode, keeps_client=keeps_client, access_log=access_log)
        self.labelling = Labelling(self.registry, default, clock)
        self.shims = LiveShims(self.registry, self.labelling, self.docker, clock, self.touch, probes)
        self.settling = Settling(self.registry, self.started_at)
        self.traffic = Traffic(clock)
        # What the page is told of traces: where they are shown, and whether they are kept here.
        self.page: dict[str, object] = {"traces_url": None, "local_traces": False}
        self.access_log_file = ""  # where the page finds lines of it; empty: nowhere
        addresses = ServedAddresses(self.registry, self.sessions)
        self.network = Network(
            addresses, self.registry.second, clock, lambda: self.settling.settled, fail_open, keeping
        )
        # In the order of cause and effect.
        self._deadlines = Deadlines(
            [
                self.labelling,
                self.shims.orphans,
                self.settling,
                self.registry,
                SecondRefusals(self.registry),
                self.network,
                self.shims.releases,
            ]
        )

    def keep_traces(self, limit: int, api: Endpoint) -> None:
        """Keep the last ``limit`` spans, and tell Envoys that they are wanted at ``api``."""
        self.traces = LocalTraces(limit, self.now())
        self.registry.clusters.put(SPANS_CLUSTER, (json.dumps(spans_cluster(api)).encode(),))

    def touch(self) -> None:
        """Run what follows from a change, and wake every task that waits for one."""
        self._deadlines.advance(self.now())
        for kind, resources in (("clusters", self.registry.clusters), ("listeners", self.registry.listeners)):
            if resources.sequence != self._sequences[kind]:
                self._sequences[kind] = resources.sequence
                self.pushed[kind].notify()
        self.changed.notify()

    async def keep_time(self) -> None:
        """Run what is due even if nothing happens.  Does not return."""
        while True:
            deadline = self._deadlines.next(self.now())
            with trio.move_on_at(trio.current_time() + max(0.0, deadline - self.now())):
                await self.changed.wait()
                continue
            self.touch()

    # -- shims and Docker --------------------------------------------------------------------------

    def recover(self) -> tuple[int, int]:
        """Admit the shims that /proc shows: (how many are new, how many could not be admitted)."""
        admitted, failed, forbidden = self.shims.recover()
        if forbidden:
            # Those that could not be admitted for another reason have ended meanwhile.
            self.settling.wait_for_resync()
        self.settling.shims_found()
        return admitted, failed

    def search_again(self) -> bool:
        """Search /proc for the shim of a port that Docker names and no lease is for; returns success."""
        found = self.recover()[0] > 0
        if found:
            self.shims.missed.set()
        return found

    def label(self, *labelled: tuple[Lease, Service, Serving]) -> None:
        """Give these leases their containers' labels, and run what follows if any are new."""
        if self.labelling.label(labelled):
            self.touch()

    def take_in_who_speaks_first(self, spoke: Collection[str], answered: Collection[str]) -> None:
        """Serve as bytes what mode auto looks at in vain; the two are as for ``ServerFirst.take_in``."""
        changed = self.labelling.server_first.take_in(self.registry, spoke, answered)
        for image, port in {(service.image, lease.binding.backend.port) for lease, service, _ in changed}:
            log.info(
                "containers of image %s speak first on port %d: mode auto serves it as bytes from now on",
                image or "(unknown)",
                port,
            )
        self.label(*changed)

    def settle(self) -> None:
        """Docker has listed its containers: answer waiting Envoys, now or once `resync` had its time."""
        self.settling.docker_told()
        if not self.settling.settled:
            self.touch()

    def dismiss_orphans(self) -> None:
        """A new dockerd runs: it wants the ports of its predecessor's shims."""
        if dismissed := self.shims.orphans.dismiss_all():
            log.info("dockerd is back: %d ports of its predecessor are let go", dismissed)
            self.touch()

    # -- Envoys ------------------------------------------------------------------------------------

    def poll(
        self, node: str, admin: str, connection: int, user: int = 0, trusted: bool = True, build: str = ""
    ) -> Session:
        """The session of the Envoy that polls on this connection.

        ``user`` is the one whose process it is, ``build`` its version, such as "1.40.0".
        """
        before = len(self.sessions.trusted())
        session = self.sessions.poll(node, admin, connection, self.now(), user, trusted, build)
        if len(self.sessions.trusted()) > before:
            log.info("Envoy %s connected, version %s", node, build or "unknown")
            if is_too_old(build):
                log.warning("Envoy %s is version %s: the oldest that is supported is %s", node, build, OLDEST)
            self.shims.port_owner.consider(user, {session.user for session in self.sessions.trusted()})
        return session

    def connection_closed(self, connection: int) -> None:
        """Take note that a connection to the API has ended."""
        if self.sessions.closed(connection):
            log.info("an Envoy disconnected; %d left", len(self.sessions.trusted()))
            self.touch()

    async def wait_until_free(self, address: Address, timeout: float) -> bool:
        """For a shim that could not bind: wait until no connected Envoy listens on ``address``.

        False, at once, where none had it.  ``timeout``: seconds, after which it is True all the same.
        """
        waited = False
        with trio.move_on_after(timeout):
            while self.registry.withdrawal_of(address) is not None or not self._knows_what_envoys_have():
                waited = True
                await self.changed.wait()
        return waited

    def _knows_what_envoys_have(self) -> bool:
        """Whether no Envoy can still have listeners of an earlier registrar that this one does not know."""
        if self.now() - self.started_at >= PREDECESSOR_TIMEOUT:
            return True
        known = self.sessions.processed()[1] >= self.registry.listeners.sequence
        return bool(self.sessions.trusted()) and known
