"""The only owner of what changes: leases, Envoys, and the tasks that move them along."""

import itertools
import logging
import math
import os
from collections.abc import Callable
from itertools import islice

import trio

from shim.core.binding import Address, Binding, Service
from shim.core.discovery import Session, Sessions
from shim.core.labels import default_service, describe
from shim.core.lease import Lease
from shim.core.registry import Registry
from shim.core.templates import Templates
from shim.processes import Shim, find_shims, open_line, origin_of, start_time_of
from shim.registrar.farewells import Farewells
from shim.registrar.line import Lines
from shim.registrar.naps import Naps
from shim.registrar.orphans import Orphans
from shim.registrar.port_owner import PortOwner

log = logging.getLogger("envoy-docker-shim")

# Labels that Docker has not told by then (seconds) are taken to be none.
LABEL_PATIENCE = 10.0
# How long (seconds) after our start `resync` has to bring what we may not look into.
RESYNC_PATIENCE = 5.0
# An Envoy that has not come back by then (seconds after our start) is not there.
ENVOY_PATIENCE = 10.0
# How many bindings of a container the log names.
SHOWN = 10


class State:
    """Synchronous changes, each followed by ``changed`` being set for whoever waits."""

    def __init__(self, templates: Templates, default_mode: str, clock: Callable[[], float]) -> None:
        self.now = clock
        self.started_at = clock()
        self.default_mode = default_mode
        self.sessions = Sessions()
        self.registry = Registry(self.sessions, templates.listener, templates.cluster)
        self.lines = Lines(self._on_release, self._on_orphan, self._on_end, self._on_parked, self.touch)
        self.naps = Naps(self.lines.say)
        self.port_owner = PortOwner(self.registry, self.lines.say)
        self._farewells = Farewells(self.registry, self.lines, clock)
        self.changed = trio.Event()
        # ... and those of a resource type, for the Envoys that wait for it.
        self.pushed = {"clusters": trio.Event(), "listeners": trio.Event()}
        self._sequences = {"clusters": 0, "listeners": 0}
        # Set when the labels of a lease are wanted from Docker.
        self.labels_wanted = trio.Event()
        # Set when a shim was found that should have come by itself.
        self.shim_missed = trio.Event()
        self.docker_reachable = False
        self.docker_error = ""
        self.orphans = Orphans(self.registry, self._end_shim, clock)
        # Whether what we know is enough to answer an Envoy that already has a configuration.
        self.settled = False
        self._settle_at: float | None = None
        self._unreadable = False  # shims run that we may not take up ourselves
        self._ids = itertools.count(1)
        self._pipes: dict[int, int] = {}  # inode of a lease's pipe -> lease
        self._pipe_of: dict[int, int] = {}

    # -- leases ----------------------------------------------------------------------------------

    def admit(self, pid: int, binding: Binding, lease_fd: int, wake_fd: int) -> int | None:
        """A shim with its line.  Returns the lease's id, or None if it is known already.

        The descriptors are taken over either way.
        """
        # A shim is known by its pipe: its process id may be another's tomorrow, or not be seen from here.
        pipe = os.fstat(lease_fd).st_ino
        if pipe in self._pipes:
            os.close(lease_fd)
            os.close(wake_fd)
            return None
        try:
            parent, started = origin_of(pid)
            order = float(started)
        except (OSError, ValueError):
            # Another pid namespace, or gone already: its line will tell.
            parent, order = 0, math.inf
        lease_id = next(self._ids)
        self._pipes[pipe] = lease_id
        self._pipe_of[lease_id] = pipe
        lease = Lease(lease_id, pid, binding, order, self.now())
        self.orphans.add(lease, parent)
        new = self.registry.add(lease)
        self.lines.add(lease_id, lease_fd, wake_fd)
        self.port_owner.admitted(lease)
        self.naps.begun(lease_id)
        log.debug("lease %d: %s (process %d)", lease_id, binding, pid)
        if service := self.orphans.heritage(binding, self.now()):
            self.label((lease, service))
        elif new:
            # For the others of its container nothing is due any sooner.
            self.touch()
            self.labels_wanted.set()
        return lease_id

    def recover(self) -> tuple[int, int]:
        """Take up the shims that /proc shows: (newly admitted, could not be)."""
        admitted = failed = 0
        for shim in find_shims():
            try:
                admitted += self._adopt(shim)
            except (OSError, ValueError) as error:
                failed += 1
                # One that has ended meanwhile is nothing to wait for.
                self._unreadable = self._unreadable or isinstance(error, PermissionError)
                log.warning("cannot take up %s (process %d): %s", shim.binding, shim.pid, error)
        return admitted, failed

    def _adopt(self, shim: Shim) -> bool:
        lease_fd, wake_fd = open_line(shim.pid)
        try:
            # The same process still, now that its pipes are ours: else another one has its number.
            if start_time_of(shim.pid) != shim.started:
                raise OSError("the process has ended")
        except (OSError, ValueError):
            os.close(lease_fd)
            os.close(wake_fd)
            raise
        lease_id = self.admit(shim.pid, shim.binding, lease_fd, wake_fd)
        if lease_id is not None:
            self._on_parked(lease_id)  # perhaps when nobody looked
        return lease_id is not None

    def _on_release(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is None:
            return
        self.registry.release(lease, self.now())
        # From when its container's first port was released: a hundred ports are not a hundred waits.
        self._farewells.end(lease, lease.stage_at)

    def _on_parked(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is not None and lease.binding.address.proto == "udp":
            self.naps.begun(lease_id, lease.binding.address.port)

    def _on_orphan(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is not None:
            self.orphans.signalled(lease)
            self.naps.begun(lease_id)

    def let_orphans_go(self) -> None:
        """dockerd is there again."""
        if gone := self.orphans.let_go():
            log.info("dockerd is back: %d ports of its predecessor are let go", gone)
            self.touch()

    def _end_shim(self, lease: Lease) -> None:
        self.registry.let_go(lease, self.now())
        self._farewells.end(lease, self.now())

    def _on_end(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is None:
            return
        log.debug("lease %d ended: %s", lease_id, lease.binding)
        del self._pipes[self._pipe_of.pop(lease_id)]
        self.orphans.forget(lease_id)
        self._farewells.forget(lease_id)
        self.registry.end(lease, self.now())

    async def wait_until_free(self, address: Address, patience: float) -> bool:
        """For a shim that could not bind: wait for Envoys of ours to let go of ``address``.

        False at once where they do not have it.
        """
        waited = False
        with trio.move_on_after(patience):
            while self.registry.leaving(address) is not None or not self._knows_what_envoys_have():
                waited = True
                await self.changed.wait()
        return waited

    def _knows_what_envoys_have(self) -> bool:
        """After our start an Envoy may have what our predecessor gave it, until it took what we give."""
        if self.now() - self.started_at >= ENVOY_PATIENCE:
            return True
        return len(self.sessions) > 0 and self.sessions.processed()[1] >= self.registry.listeners.sequence

    def search_again(self, then: Callable[[], None]) -> None:
        """Docker names a port that no lease is for: a shim may have come while nobody listened."""
        if self.recover()[0]:
            self.shim_missed.set()
            then()

    def settle(self) -> None:
        """What Docker knows is known: Envoys that wait for us may be answered.

        Where shims run that we may not look into, a moment is left for `resync` to bring them.
        """
        if self._settle_at is None:
            self._settle_at = self.started_at + (RESYNC_PATIENCE if self._unreadable else 0.0)
        if not self.settled and self.now() >= self._settle_at:
            self.settled = True
            self.registry.list_staged(self.now())
            self.touch()

    def label(self, *services: tuple[Lease, Service]) -> None:
        """What these leases' containers are, as far as that is news."""
        bindings: dict[Service, list[Binding]] = {}
        for lease, service in services:
            if lease.service != service:
                bindings.setdefault(service, []).append(lease.binding)
                self.registry.label(lease, service, self.now())
        for service, its in bindings.items():
            if service.problem:
                log.warning("%s: %s", service.name, service.problem)
            shown = ", ".join(map(str, its[:SHOWN])) + (
                f" and {len(its) - SHOWN} more" if len(its) > SHOWN else ""
            )
            log.info("%s: %s", describe(service), shown)
        if bindings:
            self.touch()

    # -- Envoys ----------------------------------------------------------------------------------

    def poll(self, node: str, admin: str, connection: int) -> Session:
        known = {session.node for session in self.sessions}
        session = self.sessions.poll(node, admin, connection, self.now())
        if node not in known:
            log.info("Envoy %s connected", node)
        return session

    def connection_closed(self, connection: int) -> None:
        self.port_owner.closed(connection)
        if self.sessions.closed(connection):
            log.info("an Envoy disconnected; %d left", len(self.sessions))
            self.touch()

    def touch(self) -> None:
        """Something changed: do what follows from it, and wake whoever waits."""
        now = self.now()
        self.orphans.look(now, self.docker_reachable)
        self.registry.advance(now)
        self._farewells.look(now)
        for kind, resources in (("clusters", self.registry.clusters), ("listeners", self.registry.listeners)):
            if resources.sequence != self._sequences[kind]:
                self._sequences[kind] = resources.sequence
                self.pushed[kind].set()
                self.pushed[kind] = trio.Event()
        self.changed.set()
        self.changed = trio.Event()

    async def keep_time(self) -> None:
        """Do what is due even if nothing happens."""
        while True:
            deadline = self._next_deadline()
            changed = self.changed
            with trio.move_on_at(trio.current_time() + max(0.0, deadline - self.now())):
                await changed.wait()
                continue
            self._default_labels()
            if self._settle_at is not None:
                self.settle()
            self.touch()

    def _next_deadline(self) -> float:
        deadlines = [self._farewells.due, self.orphans.due]
        if self._settle_at is not None and not self.settled:
            deadlines.append(self._settle_at)
        if (due := self.registry.next_deadline()) is not None:
            deadlines.append(due)
        deadlines += [container.since + LABEL_PATIENCE for container in islice(self.registry.unlabelled(), 1)]
        now = self.now()
        # What is overdue was just looked at, and waits for something else: not for time alone.
        return min(max(deadline, now + 0.001) for deadline in deadlines)

    def _default_labels(self) -> None:
        now = self.now()
        for container in list(self.registry.unlabelled()):
            if now - container.since < LABEL_PATIENCE:
                break
            leases = [self.registry.get(lease_id) for lease_id in sorted(container.leases)]
            for lease in leases:
                assert lease is not None
                log.warning("%s: Docker has not said whose it is: served without labels", lease.binding)
                self.label((lease, default_service(lease.binding.backend, self.default_mode)))
