"""Which lease needs which cluster: one a container port, by a name that is its own while it is needed."""

import math
from collections.abc import Callable

from shim.core.binding import Backend
from shim.core.discovery.versions import Resource, VersionedSet
from shim.core.envoy.upstreams import Upstream
from shim.core.leases.cluster_names import cluster_names
from shim.core.leases.lease import Lease

ClusterMaker = Callable[[str, Backend, Upstream], Resource]


class Claim:
    """A cluster: what it stands for, when it was put, and the leases that use it."""

    __slots__ = ("backend", "sequence", "upstream", "users")

    def __init__(self) -> None:
        self.backend: Backend | None = None
        self.upstream: Upstream | None = None
        self.sequence = 0
        self.users: tuple[int, ...] = ()


class ClusterClaims:
    """A cluster stays until the listeners that led to it have left every Envoy, or ``timeout`` is over."""

    def __init__(self, make: ClusterMaker, timeout: float) -> None:
        """``timeout``: seconds."""
        self.resources = VersionedSet()
        self._make = make
        self._timeout = timeout
        self._claims: dict[str, Claim] = {}  # by the cluster's name
        self._retired: dict[str, tuple[int, float]] = {}  # cluster -> listeners' sequence, since

    def __contains__(self, name: str) -> bool:
        return name in self._claims

    def backend_of(self, name: str) -> Backend | None:
        """The container port of this cluster; None: there is no such cluster."""
        return self._claims[name].backend if name in self._claims else None

    def sequence_of(self, name: str) -> int:
        """What an Envoy must have processed to know this cluster."""
        return self._claims[name].sequence

    def claim(self, lease: Lease) -> str:
        """The cluster for this lease's backend, made if there is none.  The lease's labels are known."""
        assert lease.service is not None and lease.serving is not None
        backend, upstream = lease.binding.backend, lease.serving.upstream
        for name in cluster_names(lease.service, lease.binding):
            claim = self._claims.get(name) or Claim()
            same = (claim.backend, claim.upstream) == (backend, upstream)
            if same or not set(claim.users) - {lease.id}:
                break
        if not same:
            claim.backend, claim.upstream = backend, upstream
            self.resources.put(name, self._make(name, backend, upstream))
            claim.sequence = self.resources.sequence
        self._claims[name] = claim
        self._retired.pop(name, None)
        if lease.id not in claim.users:
            claim.users += (lease.id,)
        return name

    def give_up(self, name: str, lease: Lease, listeners: int, now: float) -> None:
        """The lease's listener leads to this cluster no more, from this sequence of listeners on.

        Without any user the cluster is retired.
        """
        claim = self._claims[name]
        claim.users = tuple(user for user in claim.users if user != lease.id)
        if not claim.users:
            self._retired[name] = (listeners, now)

    def remove_retired(self, processed: float, now: float) -> None:
        """Take out what no listener leads to: every Envoy has processed these listeners."""
        for name, (sequence, since) in list(self._retired.items()):
            if processed >= sequence or now - since >= self._timeout:
                del self._retired[name], self._claims[name]
                self.resources.remove(name)

    def due(self) -> float:
        """When ``remove_retired`` has something to do even if no Envoy gets further; infinity: never."""
        return min((since for _, since in self._retired.values()), default=math.inf) + self._timeout
