"""Which published addresses belong in the firewall's table: those where an Envoy is known to listen.

An address is in from the first acknowledgement of its listener, and out as soon as its listener is withdrawn,
before any Envoy is told.  An Envoy that dies takes none out: what the kernel does then is the table's affair.
"""

from collections.abc import Mapping

from shim.core.binding import Address, second_name
from shim.core.discovery.sessions import Session, Sessions
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.registry import Registry
from shim.core.leases.second_listeners import Second


class ServedAddresses:
    """``addresses`` as of the last ``update``, which costs nothing while nothing has changed."""

    def __init__(self, registry: Registry, sessions: Sessions) -> None:
        self.addresses: frozenset[Address] = frozenset()
        # The port of the second listener, where an Envoy is known to have one.
        self.kept: Mapping[Address, int] = {}
        self.envoy_is_there = False  # one whose acknowledgements count has taken what it was told
        # Their shims were left by a dockerd that died, and end now that there is one again.
        self.handed_over: frozenset[Address] = frozenset()
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
        listed = {lease.binding.address: lease for lease in self._registry if lease.stage is Stage.LISTED}
        served = {address for address, lease in listed.items() if self._is_served(lease, envoys)}
        # One that is about to be replaced serves until then.
        served |= {
            lease.binding.address
            for lease in self._registry
            if lease.stage in (Stage.PENDING, Stage.STAGED) and self._still_served(lease, listed, envoys)
        }
        self.addresses = frozenset(served)
        self.handed_over = frozenset(
            lease.binding.address for lease in self._registry if lease.orphan and lease.released
        )
        self.kept = {
            address: second.port
            for address, second in self._registry.second.listed.items()
            if self._is_kept(address, second, envoys)
        }
        self.envoy_is_there = any(envoy.listeners.processed_sequence >= 0 for envoy in envoys)
        return before != (self.addresses, self.kept, self.envoy_is_there)

    def _is_served(self, lease: Lease, envoys: list[Session]) -> bool:
        name = str(lease.binding.address)
        if lease.serving is None or not lease.serving.mode.takes_network:
            return False
        if any(envoy.listens(name, lease.listener_sequence) for envoy in envoys):
            return True
        # While Envoys come and go, or take a new listener over in place of the old one.
        return lease.binding.address in self.addresses and not _is_rejected(name, envoys)

    def _still_served(self, lease: Lease, listed: dict[Address, Lease], envoys: list[Session]) -> bool:
        address = lease.binding.address
        if address not in self.addresses or address in listed:
            return False
        return str(address) in self._registry.listeners and not _is_rejected(str(address), envoys)

    def _is_kept(self, address: Address, second: Second, envoys: list[Session]) -> bool:
        name = second_name(address)
        if address not in self.addresses:
            return False
        if any(envoy.listens(name, second.sequence) for envoy in envoys):
            return True
        return self.kept.get(address) == second.port and not _is_rejected(name, envoys)


def _is_rejected(name: str, envoys: list[Session]) -> bool:
    return any(name in envoy.rejected for envoy in envoys)
