"""Shims that were sent SIGTERM: whether their dockerd has died, or an operator ended them.

The kernel sends SIGTERM when dockerd dies.  With live-restore the container lives on, and its ports are
served until a new dockerd wants them.
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
from shim.registrar.events import PendingFlag

log = logging.getLogger("envoy-docker-shim")

# How long (seconds) a shim that was sent SIGTERM is a suspect, until it shows whether dockerd has died...
SUSPECT_TIMEOUT = 2.0
# ... and how often the suspects are checked meanwhile (seconds): each check reads /proc once a shim.
CHECK_PAUSE = 0.1
# How long (seconds) a new dockerd may take to start the shims of containers that lived on.
RETURN = 30.0
# The parent of a process whose own has died.
INIT = 1


class Orphans:
    """``dismiss`` is called with the lease of a shim that is to end."""

    def __init__(
        self,
        registry: Registry,
        docker: DockerHealth,
        dismiss: Callable[[Lease], None],
        clock: Callable[[], float],
        parent_of: Callable[[int], int],
    ) -> None:
        self._registry = registry
        self._docker = docker
        self._dismiss = dismiss
        self._now = clock
        self._parent_of = parent_of
        # Set when a shim has lost its dockerd: a new one is then looked for at once.
        self.dockerd_wanted = PendingFlag()
        self._due = math.inf  # when the suspects are checked again
        self._parents: dict[int, int] = {}  # lease -> the process that started its shim
        self._suspects: dict[int, float] = {}  # lease -> until when it is one
        self._labels_of_released: dict[Binding, tuple[Service, Serving]] = {}
        self._released_at = -math.inf  # when these were released

    def add(self, lease: Lease, parent: int) -> None:
        """Add a lease; ``parent`` is the process that started its shim, 0 where it cannot be seen."""
        self._parents[lease.id] = parent
        # Left behind by a dockerd that died before this registrar started.
        lease.orphan = parent == INIT

    def ended(self, lease_id: int) -> None:
        """Forget a lease whose shim has ended."""
        del self._parents[lease_id]
        self._suspects.pop(lease_id, None)

    def signalled(self, lease: Lease) -> None:
        """Take note that this shim was sent SIGTERM."""
        if self._has_its_parent(lease):
            # The signal comes with the end of dockerd's thread, a moment before that of dockerd itself.
            self._suspects[lease.id] = self._now() + SUSPECT_TIMEOUT
            self._due = min(self._due, self._now() + CHECK_PAUSE)
        else:
            self._orphaned(lease)

    def due(self) -> float:
        """When the suspects are checked again (seconds); infinity: there is none."""
        return self._due

    def advance(self, now: float) -> None:
        """Check the suspects."""
        if now < self._due:
            return
        for lease_id, until in list(self._suspects.items()):
            lease = self._registry.get(lease_id)
            assert lease is not None
            if not self._has_its_parent(lease):
                self._orphaned(lease)
                if now >= until and self._docker.reachable:
                    self._dismiss(lease)  # a new dockerd runs already
            elif now >= until and not self._docker.reachable:
                self._suspects[lease_id] = now + SUSPECT_TIMEOUT
            elif now >= until:
                # dockerd lives (or cannot be seen): an operator ended this one shim.
                del self._suspects[lease_id]
                self._dismiss(lease)
        self._due = min(now + CHECK_PAUSE, *self._suspects.values()) if self._suspects else math.inf

    def dismiss_all(self) -> int:
        """Dismiss every orphan, since a new dockerd wants its port; returns how many there were."""
        orphans = [lease for lease in self._registry if lease.orphan and not lease.released]
        self._labels_of_released = {
            lease.binding: lease.labelled for lease in orphans if lease.labelled is not None
        }
        self._released_at = self._now()
        for lease in orphans:
            self._dismiss(lease)
        return len(orphans)

    def inherited_service(self, binding: Binding, now: float) -> tuple[Service, Serving] | None:
        """The labels of the orphan whose place a new shim takes: Docker's API answers only later."""
        return self._labels_of_released.pop(binding, None) if now - self._released_at < RETURN else None

    def __bool__(self) -> bool:
        return any(lease.orphan for lease in self._registry)

    def _has_its_parent(self, lease: Lease) -> bool:
        return self._parent_of(lease.pid) in (self._parents[lease.id], 0)

    def _orphaned(self, lease: Lease) -> None:
        self._suspects.pop(lease.id, None)
        if not lease.orphan:
            lease.orphan = True
            self._registry.touched.add(lease.binding.address)
            self.dockerd_wanted.set()
            log.warning("%s: its dockerd has died; served on until there is one again", lease.binding)
