"""Which published addresses belong in the firewall's table: those where an Envoy is known to listen.

An address is in from the first acknowledgement of its listener, and out as soon as its listener is withdrawn,
before any Envoy is told.  An Envoy that dies takes none out: what the kernel does then is the table's affair.

Among ten thousand addresses only those are looked at that may have changed: ``Registry.touched`` has those
with a change, and an Envoy's progress matters to those that still wait for it.  All are looked at when what
Envoys refuse has changed; and, while they refuse anything, when one of them has come, gone or made progress:
what one refuses another may have served.
"""

from collections.abc import Mapping, Set

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
        self._waiting: set[Address] = set()  # listed, and no Envoy is known to listen there yet
        self._processed: list[int] = []  # what each Envoy had processed, and
        self._refused: list[tuple[str, ...]] | None = None  # refused, at the last look; None: look at all

    def inherit(self, addresses: frozenset[Address], kept: Mapping[Address, int]) -> None:
        """Take over what an earlier registrar had served: each address stays as long as its listener."""
        self.addresses |= addresses
        self.kept = {**self.kept, **kept}
        self._refused = None

    def skip(self) -> None:
        """Forget what has changed: nobody wants to know."""
        self._registry.touched.clear()

    def update(self) -> bool:
        """Work out the addresses anew; says whether they, or whether an Envoy is there, have changed."""
        envoys = self._sessions.trusted()
        refused = [tuple(envoy.rejected) for envoy in envoys if envoy.rejected]
        processed = [envoy.listeners.processed_sequence for envoy in envoys]
        if refused == self._refused and processed == self._processed and not self._registry.touched:
            return False
        before = self.addresses, self.kept, self.envoy_is_there
        candidates, self._registry.touched = self._registry.touched, set()
        if refused != self._refused or (refused and processed != self._processed):
            candidates.update(self.addresses, self.kept, self.handed_over)
            candidates.update(lease.binding.address for lease in self._registry)
        elif processed != self._processed:
            candidates |= self._waiting
        self._processed, self._refused = processed, refused
        self._look_at(candidates, envoys)
        self.envoy_is_there = any(sequence >= 0 for sequence in processed)
        return before != (self.addresses, self.kept, self.envoy_is_there)

    def _look_at(self, candidates: Set[Address], envoys: list[Session]) -> None:
        """Bring what is known of these addresses up to date."""
        served, handed_over, waiting = set[Address](), set[Address](), set[Address]()
        for address in candidates:
            listed: Lease | None = None
            coming = False
            for lease in self._registry.all_at(address):
                if lease.stage is Stage.LISTED:
                    listed = lease
                coming = coming or lease.stage in (Stage.PENDING, Stage.STAGED)
                if lease.orphan and lease.released:
                    handed_over.add(address)
            if listed is None:
                if coming and self._still_served(address, envoys):
                    served.add(address)
            elif listed.serving is not None and listed.serving.mode.takes_network:
                (served if self._is_served(listed, envoys) else waiting).add(address)
        self.addresses = _with(self.addresses, candidates, served)
        self.handed_over = _with(self.handed_over, candidates, handed_over)
        self._look_at_second(candidates, envoys, waiting)
        self._waiting = self._waiting - candidates | waiting

    def _look_at_second(self, candidates: Set[Address], envoys: list[Session], waiting: set[Address]) -> None:
        seconds = self._registry.second.listed
        if not seconds and not self.kept:
            return
        kept = dict(self.kept)
        for address in candidates:
            second = seconds.get(address)
            if second is not None and self._is_kept(address, second, envoys):
                kept[address] = second.port
                continue
            kept.pop(address, None)
            if second is not None:
                waiting.add(address)
        if kept != self.kept:
            self.kept = kept

    def _still_served(self, address: Address, envoys: list[Session]) -> bool:
        """Whether one that is about to be replaced serves until then."""
        if address not in self.addresses or str(address) not in self._registry.listeners:
            return False
        return not _is_rejected(str(address), envoys)

    def _is_served(self, lease: Lease, envoys: list[Session]) -> bool:
        address, name = lease.binding.address, str(lease.binding.address)
        if any(envoy.listens(name, lease.listener_sequence) for envoy in envoys):
            return True
        # While Envoys come and go, or take a new listener over in place of the old one.
        return address in self.addresses and not _is_rejected(name, envoys)

    def _is_kept(self, address: Address, second: Second, envoys: list[Session]) -> bool:
        name = second_name(address)
        if address not in self.addresses:
            return False
        if any(envoy.listens(name, second.sequence) for envoy in envoys):
            return True
        return self.kept.get(address) == second.port and not _is_rejected(name, envoys)


def _with(known: frozenset[Address], candidates: Set[Address], found: Set[Address]) -> frozenset[Address]:
    """``known``, of which the candidates are in if they were found; the same object if that is no change."""
    gone, come = (known & candidates) - found, found - known
    return known.difference(gone).union(come) if gone or come else known


def _is_rejected(name: str, envoys: list[Session]) -> bool:
    return any(name in envoy.rejected for envoy in envoys)
