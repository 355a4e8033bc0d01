"""All leases by address, as the API lists them: sorted once for many requests."""

from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry


class Order:
    """The sorted leases, kept until a lease is added or ends."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known = (0, 0)
        self._leases: tuple[Lease, ...] = ()

    def leases(self) -> tuple[Lease, ...]:
        """Every lease, by address.  Newest id and number tell whether they changed: no id is used twice."""
        now = self._registry.newest(), len(self._registry)
        if now != self._known:
            self._known = now
            self._leases = tuple(sorted(self._registry, key=lambda lease: (lease.binding.address, lease.id)))
        return self._leases
