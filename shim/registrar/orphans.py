"""Shims that were sent SIGTERM: has their dockerd died, or did somebody end them by hand?

The kernel sends it when dockerd dies.  With live-restore the container lives on, and its ports are served
until there is a dockerd again that wants them.
"""

import logging
import math
from collections.abc import Callable

from shim.core.binding import Binding
from shim.core.envoy.modes import Serving
from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry
from shim.core.service import Service
from shim.registrar.docker_health import DockerHealth
from shim.registrar.news import Request

log = logging.getLogger("envoy-docker-shim")

# How long (seconds) it may take until it shows whether a shim's SIGTERM came from dockerd's death...
DOUBT = 2.0
# ... and how often that is looked at meanwhile: each look reads /proc once a shim.
DOUBT_LOOK = 0.1
# How long (seconds) a returning dockerd may take to start its shims anew.
RETURN = 30.0
# The parent of a process whose own has died.
INIT = 1


class Orphans:
    """``release`` is called with the lease of a shim that is to end."""

    def __init__(
        self,
        registry: Registry,
        docker: DockerHealth,
        release: Callable[[Lease], None],
        clock: Callable[[], float],
        parent_of: Callable[[int], int],
    ) -> None:
        self._registry = registry
        self._docker = docker
        self._release = release
        self._now = clock
        self._parent_of = parent_of
        # Made when a shim has lost its dockerd: a new one is looked for in earnest then.
        self.dockerd_wanted = Request()
        self._due = math.inf  # when the doubted are looked at again
        self._parents: dict[int, int] = {}  # lease -> the process that started its shim
        self._doubted: dict[int, float] = {}  # lease -> when it is judged
        self._left: dict[Binding, tuple[Service, Serving]] = {}  # what those were that were released...
        self._left_at = -math.inf  # ... at this time

    def add(self, lease: Lease, parent: int) -> None:
        """A lease is there; ``parent`` is the process that started its shim, 0 where it cannot be seen."""
        self._parents[lease.id] = parent
        # Left behind by a dockerd that died before this registrar started.
        lease.orphan = parent == INIT

    def ended(self, lease_id: int) -> None:
        """Its shim has ended."""
        del self._parents[lease_id]
        self._doubted.pop(lease_id, None)

    def signalled(self, lease: Lease) -> None:
        """The lease's shim says that it was sent SIGTERM."""
        if self._has_its_parent(lease):
            # The signal comes with the end of dockerd's thread, a moment before that of dockerd itself.
            self._doubted[lease.id] = self._now() + DOUBT
            self._due = min(self._due, self._now() + DOUBT_LOOK)
        else:
            self._orphaned(lease)

    def due(self) -> float:
        """When the doubted are looked at again; infinity: nobody is doubted."""
        return self._due

    def look(self, now: float) -> None:
        """Judge the doubted."""
        if now < self._due:
            return
        for lease_id, until in list(self._doubted.items()):
            lease = self._registry.get(lease_id)
            assert lease is not None
            if not self._has_its_parent(lease):
                self._orphaned(lease)
                if now >= until and self._docker.reachable:
                    self._release(lease)  # there is a dockerd again already
            elif now >= until and not self._docker.reachable:
                self._doubted[lease_id] = now + DOUBT
            elif now >= until:
                # dockerd lives (or cannot be seen): somebody ended this one shim by hand.
                del self._doubted[lease_id]
                self._release(lease)
        self._due = min(now + DOUBT_LOOK, *self._doubted.values()) if self._doubted else math.inf

    def release_all(self) -> int:
        """dockerd is there again, and wants the ports of the containers that lived on: how many."""
        orphans = [lease for lease in self._registry if lease.orphan and not lease.released]
        self._left = {lease.binding: lease.labelled for lease in orphans if lease.labelled is not None}
        self._left_at = self._now()
        for lease in orphans:
            self._release(lease)
        return len(orphans)

    def inherited_service(self, binding: Binding, now: float) -> tuple[Service, Serving] | None:
        """What a new shim's container is, if it is one that lived on: Docker's API answers only later."""
        return self._left.pop(binding, None) if now - self._left_at < RETURN else None

    def __bool__(self) -> bool:
        return any(lease.orphan for lease in self._registry)

    def _has_its_parent(self, lease: Lease) -> bool:
        return self._parent_of(lease.pid) in (self._parents[lease.id], 0)

    def _orphaned(self, lease: Lease) -> None:
        self._doubted.pop(lease.id, None)
        if not lease.orphan:
            lease.orphan = True
            self.dockerd_wanted.make()
            log.warning("%s: its dockerd has died; served on until there is one again", lease.binding)
