"""All leases by their addresses, as pages show them: put in order once, not once for whoever asks."""

from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry


class Order:
    """Kept until a lease comes or ends."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known = (0, 0)
        self._leases: tuple[Lease, ...] = ()

    def leases(self) -> tuple[Lease, ...]:
        """The newest and the number tell whether they are the same: ids only grow, and none comes back."""
        now = self._registry.newest(), len(self._registry)
        if now != self._known:
            self._known = now
            self._leases = tuple(sorted(self._registry, key=lambda lease: (lease.binding.address, lease.id)))
        return self._leases
