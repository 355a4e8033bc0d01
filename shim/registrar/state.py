"""The only owner of what changes: leases, Envoys, and the tasks that move them along."""

import itertools
import logging
import math
import os
from collections.abc import Callable

import trio

from shim.core.binding import Address, Binding, Service
from shim.core.discovery import Session, Sessions
from shim.core.labels import default_service, describe
from shim.core.lease import Lease
from shim.core.registry import Registry
from shim.core.templates import Templates
from shim.processes import Shim, find_shims, open_line, parent_of, start_time_of
from shim.registrar.line import EXIT, RELAY, Lines
from shim.registrar.naps import Naps

log = logging.getLogger("envoy-docker-shim")

# A release is answered after this long (seconds) even if some Envoy has not let go.
RELEASE_PATIENCE = 1.8
# Labels that Docker has not told by then (seconds) are taken to be none.
LABEL_PATIENCE = 10.0
# How long (seconds) it may take until it shows whether a shim's SIGTERM came from dockerd's death.
DOUBT = 2.0
# How long (seconds) after our start `resync` has to bring what we may not look into.
RESYNC_PATIENCE = 5.0
# The parent of a process whose own has died.
INIT = 1
# An Envoy that was there before this registrar polls again within this (seconds).
ENVOY_RETURN = 1.0


class State:
    """Synchronous changes, each followed by ``changed`` being set for whoever waits."""

    def __init__(self, templates: Templates, default_mode: str, clock: Callable[[], float]) -> None:
        self.now = clock
        self.started_at = clock()
        self.default_mode = default_mode
        self.sessions = Sessions()
        self.registry = Registry(self.sessions, templates.listener, templates.cluster)
        self.lines = Lines(self._on_release, self._on_orphan, self._on_end, self._on_parked)
        self.naps = Naps(lambda lease_id: self.lines.say(lease_id, RELAY))
        self.changed = trio.Event()
        # Set when the labels of a lease are wanted from Docker.
        self.labels_wanted = trio.Event()
        # Set when a shim was found that should have come by itself.
        self.shim_missed = trio.Event()
        self.docker_reachable = False
        self.docker_error = ""
        # Set when a shim has lost its dockerd: a new one is looked for in earnest then.
        self.orphaned = trio.Event()
        # Whether what we know is enough to answer an Envoy that already has a configuration.
        self.settled = False
        self._settle_at: float | None = None
        self._unreadable = False  # shims run that we may not take up ourselves
        self._ids = itertools.count(1)
        self._pipes: dict[int, int] = {}  # inode of a lease's pipe -> lease
        self._pipe_of: dict[int, int] = {}
        self._parents: dict[int, int] = {}  # lease -> the process that started its shim
        self._doubted: dict[int, float] = {}  # lease that was sent SIGTERM -> when that is judged
        self._waiting: dict[int, float] = {}  # lease to be told to end -> by when

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
            order = float(start_time_of(pid))
        except (OSError, ValueError):
            # Another pid namespace, or gone already: its line will tell.
            order = math.inf
        lease_id = next(self._ids)
        self._pipes[pipe] = lease_id
        self._pipe_of[lease_id] = pipe
        self._parents[lease_id] = parent_of(pid)
        lease = Lease(lease_id, pid, binding, order, self.now())
        # Left behind by a dockerd that died before this registrar started.
        lease.orphan = self._parents[lease_id] == INIT
        self.registry.add(lease)
        self.lines.add(lease_id, lease_fd, wake_fd)
        log.debug("lease %d: %s (process %d)", lease_id, binding, pid)
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
                self._unreadable = True
                log.warning("cannot take up %s (process %d): %s", shim.binding, shim.pid, error)
        return admitted, failed

    def _adopt(self, shim: Shim) -> bool:
        lease_fd, wake_fd = open_line(shim.pid)
        # The same process still, now that its pipes are ours: else another one has its number.
        if start_time_of(shim.pid) != shim.started:
            os.close(lease_fd)
            os.close(wake_fd)
            raise OSError("the process has ended")
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
        self._waiting[lease_id] = lease.stage_at + RELEASE_PATIENCE
        self.touch()

    def _on_parked(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is not None and lease.binding.address.proto == "udp":
            self.naps.parked(lease_id, lease.binding.address.port)

    def _on_orphan(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is None:
            return
        if parent_of(lease.pid) in (self._parents[lease_id], 0):
            # The signal comes with the end of dockerd's thread, a moment before that of dockerd itself.
            self._doubted[lease_id] = self.now() + DOUBT
            self.touch()
        else:
            self._orphaned(lease)

    def _orphaned(self, lease: Lease) -> None:
        self._doubted.pop(lease.id, None)
        if not lease.orphan:
            lease.orphan = True
            self.orphaned.set()
            log.warning("%s: its dockerd has died; served on until there is one again", lease.binding)

    def _resolve_doubts(self, now: float) -> None:
        for lease_id, until in list(self._doubted.items()):
            lease = self.registry.get(lease_id)
            if lease is None:
                del self._doubted[lease_id]
            elif parent_of(lease.pid) not in (self._parents[lease_id], 0):
                self._orphaned(lease)
                if now >= until and self.docker_reachable:
                    self._end_shim(lease)  # there is a dockerd again already
            elif now >= until and not self.docker_reachable:
                self._doubted[lease_id] = now + DOUBT
            elif now >= until:
                # dockerd lives (or cannot be seen): somebody ended this one shim by hand.
                del self._doubted[lease_id]
                self._end_shim(lease)

    def let_orphans_go(self) -> None:
        """dockerd is there again: it wants the ports of the containers that lived on."""
        orphans = [lease for lease in self.registry if lease.orphan and not lease.released]
        for lease in orphans:
            self._end_shim(lease)
        if orphans:
            log.info("dockerd is back: %d ports of its predecessor are let go", len(orphans))
            self.touch()

    def has_orphans(self) -> bool:
        return any(lease.orphan for lease in self.registry)

    def _end_shim(self, lease: Lease) -> None:
        self.registry.let_go(lease, self.now())
        self._waiting[lease.id] = self.now() + RELEASE_PATIENCE

    def _on_end(self, lease_id: int) -> None:
        lease = self.registry.get(lease_id)
        if lease is None:
            return
        log.debug("lease %d ended: %s", lease_id, lease.binding)
        del self._parents[lease_id], self._pipes[self._pipe_of.pop(lease_id)]
        self._waiting.pop(lease_id, None)
        self.registry.end(lease, self.now())
        self.touch()

    async def wait_until_free(self, address: Address, patience: float) -> bool:
        """For a shim that could not bind: wait for Envoys of ours to let go of ``address``.

        False at once where they do not have it.
        """
        # A registrar that has just started may not know yet what its Envoy still has.
        waited = self.now() - self.started_at < ENVOY_RETURN
        with trio.move_on_after(patience):
            while self.registry.leaving(address) is not None:
                waited = True
                await self.changed.wait()
        return waited

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

    def label(self, lease: Lease, service: Service) -> None:
        if lease.service == service:
            return
        if service.problem:
            log.warning("%s: %s", service.name, service.problem)
        log.info("%s is %s", lease.binding, describe(service))
        self.registry.label(lease, service, self.now())
        self.touch()

    # -- Envoys ----------------------------------------------------------------------------------

    def poll(self, node: str, admin: str, connection: int) -> Session:
        known = {session.node for session in self.sessions}
        session = self.sessions.poll(node, admin, connection, self.now())
        if node not in known:
            log.info("Envoy %s connected", node)
        return session

    def connection_closed(self, connection: int) -> None:
        if self.sessions.closed(connection):
            log.info("an Envoy disconnected; %d left", len(self.sessions))
            self.touch()

    def touch(self) -> None:
        """Something changed: do what follows from it, and wake whoever waits."""
        now = self.now()
        self._resolve_doubts(now)
        self.registry.advance(now)
        for lease_id, deadline in list(self._waiting.items()):
            lease = self.registry.get(lease_id)
            if lease is None or self._is_off(lease, now) or now >= deadline:
                del self._waiting[lease_id]
                self.lines.say(lease_id, EXIT)
        self.changed.set()
        self.changed = trio.Event()

    def _is_off(self, lease: Lease, now: float) -> bool:
        if not len(self.sessions) and now - self.started_at < ENVOY_RETURN:
            # Our predecessor's Envoy may still listen, and will be back in a moment.
            return False
        return self.registry.off_envoy(lease)

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
        deadlines = [*self._waiting.values(), *self._doubted.values()]
        if self._settle_at is not None and not self.settled:
            deadlines.append(self._settle_at)
        if (due := self.registry.next_deadline()) is not None:
            deadlines.append(due)
        if self._waiting and not len(self.sessions):
            deadlines.append(self.started_at + ENVOY_RETURN)
        deadlines += [container.since + LABEL_PATIENCE for container in self.registry.unlabelled()]
        now = self.now()
        # What is overdue was just looked at, and waits for something else: not for time alone.
        return min((max(deadline, now + 0.001) for deadline in deadlines), default=math.inf)

    def _default_labels(self) -> None:
        now = self.now()
        for container in self.registry.unlabelled():
            if now - container.since < LABEL_PATIENCE:
                continue
            for lease_id in sorted(container.leases):
                lease = self.registry.get(lease_id)
                assert lease is not None
                log.warning("%s: Docker has not said whose it is: served without labels", lease.binding)
                self.label(lease, default_service(lease.binding.backend, self.default_mode))
