"""Which published addresses belong in the firewall's table: those where an Envoy is known to listen.

An address is in from the first acknowledgement of its listener, and out as soon as its listener is withdrawn,
before any Envoy is told.  An Envoy that dies takes none out: what the kernel does then is the table's affair.
"""

from collections.abc import Mapping

from shim.core.binding import Address, second_name
from shim.core.discovery.sessions import Session, Sessions
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.registry import Registry


class ServedAddresses:
    """``addresses`` as of the last ``update``, which costs nothing while nothing has changed."""

    def __init__(self, registry: Registry, sessions: Sessions) -> None:
        self.addresses: frozenset[Address] = frozenset()
        # The port of the second listener, where an Envoy is known to have one.
        self.kept: Mapping[Address, int] = {}
        self.envoy_is_there = False  # one whose acknowledgements count has taken what it was told
        self._registry = registry
        self._sessions = sessions
        self._seen: object = None

    def inherit(self, addresses: frozenset[Address], kept: Mapping[Address, int]) -> None:
        """Take over what an earlier registrar had served: each address stays as long as its listener."""
        self.addresses |= addresses
        self.kept = {**self.kept, **kept}
        self._seen = None

    def update(self) -> bool:
        """Work out the addresses anew; says whether they, or whether an Envoy is there, have changed."""
        envoys = self._sessions.trusted()
        rejected = [tuple(envoy.rejected) for envoy in envoys]
        seen = self._registry.listeners.sequence, [e.listeners.processed_sequence for e in envoys], rejected
        if seen == self._seen:
            return False
        self._seen = seen
        before = self.addresses, self.kept, self.envoy_is_there
        self.addresses = frozenset(
            lease.binding.address for lease in self._registry if self._is_served(lease, envoys)
        )
        self.kept = {
            lease.binding.address: lease.second_port
            for lease in self._registry
            if self._is_kept(lease, envoys)
        }
        self.envoy_is_there = any(envoy.listeners.processed_sequence >= 0 for envoy in envoys)
        return before != (self.addresses, self.kept, self.envoy_is_there)

    def _is_served(self, lease: Lease, envoys: list[Session]) -> bool:
        name = str(lease.binding.address)
        if lease.stage is not Stage.LISTED or lease.serving is None or not lease.serving.mode.takes_network:
            return False
        if any(envoy.listens(name, lease.listener_sequence) for envoy in envoys):
            return True
        # While Envoys come and go, or take a new listener over in place of the old one.
        return lease.binding.address in self.addresses and not any(name in e.rejected for e in envoys)

    def _is_kept(self, lease: Lease, envoys: list[Session]) -> bool:
        address = lease.binding.address
        if not lease.second_port or address not in self.addresses:
            return False
        name = second_name(address)
        if any(envoy.listens(name, lease.second_sequence) for envoy in envoys):
            return True
        same_port = self.kept.get(address) == lease.second_port
        return same_port and not any(name in envoy.rejected for envoy in envoys)
