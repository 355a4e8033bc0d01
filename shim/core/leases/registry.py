"""The leases, and what they make of Envoy's clusters and listeners.

A lease is one live shim; it ends when the shim's process does, and takes with it only the binding
that it made.  Its stages::

    PENDING ----labelled----> STAGED ----clusters known----> LISTED ----release----> RELEASING
    (no labels yet)           (cluster out)                  (listener out)          (listener withdrawn)

Clusters go out before the listeners that need them and leave after them; neither waits longer than
ENVOY_TIMEOUT for an Envoy.  UDP leases are kept for `status` only: their shims relay by themselves.

Where two live leases name one address (a shim that outlived its dockerd beside its successor), the
newest is served; the older one is served again should it be the survivor.
"""

import math
from collections.abc import Iterator

from shim.core.binding import Address, Backend, overlap
from shim.core.discovery.sessions import Sessions
from shim.core.discovery.versions import VersionedSet
from shim.core.envoy.modes import Serving
from shim.core.leases.cluster_claims import ClusterClaims, ClusterMaker
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.second_listeners import ListenerMaker, SecondListeners
from shim.core.leases.unlabelled import Unlabelled, UnlabelledContainers
from shim.core.service import Service

# How long an Envoy that does not answer can hold up what depends on it (seconds).
ENVOY_TIMEOUT = 1.0
# dockerd stops a container's proxies one by one: when the first is released, all are.  One that is
# not told to stop within this time (seconds) is served again.
SIBLING_GRACE = 5.0

_ON_THE_WAY = (Stage.STAGED, Stage.LISTED)


class Registry:
    """Every lease, and the two resource sets that follow from them.  No I/O, no clock."""

    def __init__(
        self,
        sessions: Sessions,
        make_listener: ListenerMaker,
        make_cluster: ClusterMaker,
        second: SecondListeners | None = None,
    ) -> None:
        self.sessions = sessions
        self._clusters = ClusterClaims(make_cluster, ENVOY_TIMEOUT)
        self.clusters = self._clusters.resources
        self.listeners = VersionedSet()
        self._make_listener = make_listener
        self.second = second or SecondListeners()
        self._leases: dict[int, Lease] = {}
        self._by_address: dict[Address, list[Lease]] = {}
        self._by_container: dict[str, list[int]] = {}  # oldest first
        self._unlabelled = UnlabelledContainers()
        self._unneeded: dict[Address, list[tuple[str, Lease]]] = {}
        # What waits for an Envoy or for a deadline; no other lease or address has anything due.
        self._staged: dict[int, Lease] = {}
        self._releasing: dict[int, Lease] = {}
        self._withdrawn: dict[Address, tuple[int, float]] = {}  # perhaps still open in Envoy
        self.touched: set[Address] = set()  # has had a change of any kind since served.py looked
        # `advance` rescans these three only when one is new, an Envoy processed more, or a deadline passed.
        self._scanned = True
        self._processed = sessions.processed()
        self._due = math.inf

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __len__(self) -> int:
        return len(self._leases)

    def newest(self) -> int:
        """The highest id; 0 where there is no lease."""
        return next(reversed(self._leases), 0)

    def get(self, lease_id: int) -> Lease | None:
        """The lease with this id, unless it has ended."""
        return self._leases.get(lease_id)

    def add(self, lease: Lease) -> bool:
        """Add the lease of a registered shim.  Its binding stays pending until ``label``.

        Returns whether Docker should be asked about its container: it is new, or was asked about in vain.
        """
        self._leases[lease.id] = lease
        rivals = [*self.all_at(lease.binding.address), lease]
        self._by_address[lease.binding.address] = sorted(rivals, key=lambda rival: rival.order)
        self._by_container.setdefault(lease.binding.backend.ip, []).append(lease.id)
        return self._unlabelled.add(lease)

    def of_container(self, ip: str) -> list[Lease]:
        """The leases whose container has this address, oldest first."""
        return [self._leases[i] for i in self._by_container.get(ip, ())]

    def all_at(self, address: Address) -> list[Lease]:
        """The leases of a published address, oldest first; not to be changed."""
        return self._by_address.get(address, [])

    def at(self, address: Address) -> Lease | None:
        """The newest lease of a published address."""
        rivals = self._by_address.get(address)
        return rivals[-1] if rivals else None

    def backend_of(self, cluster: str) -> Backend | None:
        """What a cluster stands for."""
        return self._clusters.backend_of(cluster)

    def unlabelled(self) -> Iterator[Unlabelled]:
        """The containers without labels, the one that has waited longest first."""
        return iter(self._unlabelled)

    def label(self, lease: Lease, service: Service, serving: Serving, now: float) -> None:
        """Publish a lease under its labels, which are known now or have changed."""
        if lease.labelled == (service, serving):
            return
        lease.service, lease.serving = service, serving
        self._unlabelled.discard(lease)
        if lease.stage is not Stage.RELEASING:
            self._refresh(lease.binding.address, now, relabelled=lease)

    def release(self, lease: Lease, now: float) -> None:
        """Withdraw the listener of a shim that asks to end, and those of its container's other ports."""
        already = lease.stage is Stage.RELEASING
        self.release_alone(lease, now)
        if not already:
            for sibling in self.of_container(lease.binding.backend.ip):
                self._withdraw(sibling, now)

    def release_alone(self, lease: Lease, now: float) -> None:
        """Withdraw the listener of this shim only."""
        lease.released = True
        self.touched.add(lease.binding.address)
        self._withdraw(lease, now)

    def end(self, lease: Lease, now: float) -> None:
        """Remove the lease of a shim whose process ended."""
        if self._leases.pop(lease.id, None) is None:
            return
        self._unlabelled.discard(lease)
        self._withdraw(lease, now)
        self.touched.add(lease.binding.address)
        self._releasing.pop(lease.id, None)
        container = self._by_container[lease.binding.backend.ip]
        container.remove(lease.id)
        if not container:
            del self._by_container[lease.binding.backend.ip]
        rivals = self._by_address[lease.binding.address]
        rivals.remove(lease)
        if not rivals:
            del self._by_address[lease.binding.address]
        else:
            self._refresh(lease.binding.address, now)

    def off_envoy(self, lease: Lease) -> bool:
        """Whether no Envoy listens for this released lease any more."""
        return self.sessions.processed()[1] >= lease.listener_sequence

    def held(self, address: Address) -> bool:
        """Whether a shim that is to stay holds an address that cannot be listened on beside this one."""
        return any(
            overlap(address, other) and any(not (lease.orphan or lease.released) for lease in rivals)
            for other, rivals in self._by_address.items()
        )

    def withdrawal_of(self, address: Address) -> int | None:
        """The sequence that every Envoy must have processed before ``address`` is free, if any."""
        processed = self.sessions.processed()[1]
        sequences = [
            sequence
            for other, (sequence, _) in self._withdrawn.items()
            if sequence > processed and overlap(address, other)
        ]
        return max(sequences, default=None)

    def advance(self, now: float) -> None:
        """Run what was waiting for an Envoy or for a deadline."""
        processed = self.sessions.processed()
        if self._scanned and processed == self._processed and now < self._due:
            return
        for lease in list(self._releasing.values()):
            if not lease.released and now - lease.stage_at >= SIBLING_GRACE:
                del self._releasing[lease.id]
                self._enter(lease, Stage.PENDING, now)
                self._refresh(lease.binding.address, now)
        clusters, listeners = self._processed = processed
        for lease in list(self._staged.values()):
            if clusters >= self._clusters.sequence_of(lease.cluster) or now - lease.stage_at >= ENVOY_TIMEOUT:
                self._list(lease, now)
        self._clusters.remove_retired(listeners, now)
        for address, (sequence, since) in list(self._withdrawn.items()):
            if listeners >= sequence or now - since >= 30 * ENVOY_TIMEOUT:
                del self._withdrawn[address]
        self._scanned, self._due = True, self._first_deadline()

    def list_staged(self, now: float) -> None:
        """List every staged lease now, as after a restart: an Envoy must keep the listeners that it has."""
        for lease in list(self._staged.values()):
            self._list(lease, now)

    def list_second_listeners(self) -> None:
        """Put in, or take out, every second listener: whether there can be any has changed."""
        for lease in self._leases.values():
            if lease.stage is Stage.LISTED and lease.serving is not None and lease.serving.keeps_client:
                self.second.put(lease, self.listeners, self._make_listener)
                self.touched.add(lease.binding.address)

    def due(self) -> float:
        """When ``advance`` has work even if no Envoy polls (seconds); infinity: never."""
        return self._due if self._scanned else self._first_deadline()

    def _first_deadline(self) -> float:
        deadlines = [lease.stage_at + ENVOY_TIMEOUT for lease in self._staged.values()]
        deadlines += [
            lease.stage_at + SIBLING_GRACE for lease in self._releasing.values() if not lease.released
        ]
        deadlines.append(self._clusters.due())
        deadlines += [since + 30 * ENVOY_TIMEOUT for _, since in self._withdrawn.values()]
        return min(deadlines, default=math.inf)

    # -- one address ---------------------------------------------------------------------------

    def _refresh(self, address: Address, now: float, relabelled: Lease | None = None) -> None:
        """Publish for ``address`` what follows from its leases."""
        rivals = [
            lease
            for lease in self._by_address.get(address, ())
            if lease.service is not None and lease.stage is not Stage.RELEASING
        ]
        if address.proto != "tcp" or not rivals:
            return
        newest = rivals[-1]
        for lease in rivals[:-1]:
            self._supersede(lease, now)
        if newest.stage is Stage.PENDING or newest is relabelled:
            self._stage(newest, now)

    def _stage(self, lease: Lease, now: float) -> None:
        self._retire_cluster(lease)
        lease.cluster = self._clusters.claim(lease)
        self._enter(lease, Stage.STAGED, now)
        self._staged[lease.id] = lease
        self._scanned = False

    def _list(self, lease: Lease, now: float) -> None:
        assert lease.service is not None and lease.serving is not None
        del self._staged[lease.id]
        address = lease.binding.address
        resource = self._make_listener(lease.binding, lease.cluster, lease.service, lease.serving, 0)
        self.listeners.put(str(address), resource)
        self.second.put(lease, self.listeners, self._make_listener)
        lease.listener_sequence = self.listeners.sequence
        self._withdrawn.pop(address, None)
        self._enter(lease, Stage.LISTED, now)
        self._give_up_unneeded(address, now)

    def _supersede(self, lease: Lease, now: float) -> None:
        """A newer lease takes the address over; its listener will replace that of this lease."""
        self._staged.pop(lease.id, None)
        self._retire_cluster(lease)
        self._enter(lease, Stage.PENDING, now)

    def _withdraw(self, lease: Lease, now: float) -> None:
        if lease.stage is Stage.RELEASING:
            return
        self._staged.pop(lease.id, None)
        address = lease.binding.address
        # This lease's listener, or that of the older lease that it was to replace.
        heirs = [r for r in self._by_address[address] if r is not lease and r.stage in _ON_THE_WAY]
        if not heirs and self.listeners.remove(str(address)):
            self.second.remove(address, self.listeners)
            self._withdrawn[address] = (self.listeners.sequence, now)
        lease.listener_sequence = self.listeners.sequence
        self._retire_cluster(lease)
        if not heirs:
            self._give_up_unneeded(address, now)
        self._enter(lease, Stage.RELEASING, now)
        self._releasing[lease.id] = lease
        self._scanned = False

    def _enter(self, lease: Lease, stage: Stage, now: float) -> None:
        lease.enter(stage, now)
        self.touched.add(lease.binding.address)

    def _retire_cluster(self, lease: Lease) -> None:
        """Note that the lease needs its cluster no more; a listener still out may, until it is replaced."""
        if lease.cluster:
            self._unneeded.setdefault(lease.binding.address, []).append((lease.cluster, lease))
            lease.cluster = ""

    def _give_up_unneeded(self, address: Address, now: float) -> None:
        """Give up the clusters that only the former listener of ``address`` led to."""
        for name, lease in self._unneeded.pop(address, ()):
            if lease.cluster == name or name not in self._clusters:
                continue
            self._clusters.give_up(name, lease, self.listeners.sequence, now)
            self._scanned = False
