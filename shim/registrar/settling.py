"""When a registrar knows as much as its predecessor did, so that no Envoy loses a listener to a restart."""

import math

from shim.core.leases.lease import Stage
from shim.core.leases.registry import Registry

# How long after the registrar's start (seconds) `resync` has to bring shims whose pipes only it may open.
RESYNC_TIMEOUT = 5.0


class Settling:
    """``settled``: Envoys that have a configuration already may be answered from now on."""

    def __init__(self, registry: Registry, started_at: float) -> None:
        self.settled = False
        self._registry = registry
        self._started_at = started_at
        self._at = math.inf
        self._unreadable = False
        self._found = False

    def wait_for_resync(self) -> None:
        """Take note that shims run which the registrar may not admit by itself."""
        self._unreadable = True

    def shims_found(self) -> None:
        """Take note that every running shim has a lease, but for those that `resync` is to bring."""
        self._found = True

    def docker_told(self) -> None:
        """Take note that Docker's labels are known, or that there is no shim to ask about."""
        if self._at == math.inf:
            self._at = self._started_at + (RESYNC_TIMEOUT if self._unreadable else 0.0)

    def due(self) -> float:
        """When the time for `resync` is over (seconds); infinity: Docker is not known, or all is settled."""
        return math.inf if self.settled else self._at

    def advance(self, now: float) -> None:
        """Settle, if it is time."""
        if not self.settled and (now >= self._at or self._all_are_released()):
            self.settled = True
            self._registry.list_staged(now)

    def _all_are_released(self) -> bool:
        """Whether Docker has nothing to tell: a dockerd that stops every container answers no question."""
        known = self._found and not self._unreadable
        return known and all(lease.stage is Stage.RELEASING for lease in self._registry)
