"""Which lease needs which cluster: one a container port, by a name that is its own while it is needed."""

import math
from collections.abc import Callable

from shim.core.binding import Backend
from shim.core.discovery.versions import Resource, VersionedSet
from shim.core.envoy.upstreams import Upstream
from shim.core.leases.cluster_names import cluster_names
from shim.core.leases.lease import Lease

ClusterMaker = Callable[[str, Backend, Upstream], Resource]


class ClusterClaims:
    """A cluster stays until the listeners that led to it have left every Envoy, or ``timeout`` is over."""

    def __init__(self, make: ClusterMaker, timeout: float) -> None:
        """``timeout``: seconds."""
        self.resources = VersionedSet()
        self._make = make
        self._timeout = timeout
        self._users: dict[str, list[int]] = {}  # cluster -> leases
        self._upstreams: dict[str, tuple[Backend, Upstream]] = {}  # cluster -> what it stands for
        self._sequences: dict[str, int] = {}  # cluster -> when it was put
        self._retired: dict[str, tuple[int, float]] = {}  # cluster -> listeners' sequence, since

    def __contains__(self, name: str) -> bool:
        return name in self._users

    def backend_of(self, name: str) -> Backend | None:
        """The container port of this cluster; None: there is no such cluster."""
        return self._upstreams[name][0] if name in self._upstreams else None

    def sequence_of(self, name: str) -> int:
        """What an Envoy must have processed to know this cluster."""
        return self._sequences[name]

    def claim(self, lease: Lease) -> str:
        """The cluster for this lease's backend, made if there is none.  The lease's labels are known."""
        assert lease.service is not None and lease.serving is not None
        backend, upstream = wanted = lease.binding.backend, lease.serving.upstream
        for name in cluster_names(lease.service, lease.binding):
            others = [user for user in self._users.get(name, ()) if user != lease.id]
            if not others or self._upstreams[name] == wanted:
                break
        if self._upstreams.get(name) != wanted:
            self._upstreams[name] = wanted
            self.resources.put(name, self._make(name, backend, upstream))
            self._sequences[name] = self.resources.sequence
        self._retired.pop(name, None)
        users = self._users.setdefault(name, [])
        if lease.id not in users:
            users.append(lease.id)
        return name

    def give_up(self, name: str, lease: Lease, listeners: int, now: float) -> None:
        """The lease's listener leads to this cluster no more, from this sequence of listeners on.

        Without any user the cluster is retired.
        """
        users = self._users[name]
        if lease.id in users:
            users.remove(lease.id)
        if not users:
            self._retired[name] = (listeners, now)

    def remove_retired(self, processed: float, now: float) -> None:
        """Take out what no listener leads to: every Envoy has processed these listeners."""
        for name, (sequence, since) in list(self._retired.items()):
            if processed >= sequence or now - since >= self._timeout:
                del self._retired[name], self._users[name], self._upstreams[name], self._sequences[name]
                self.resources.remove(name)

    def due(self) -> float:
        """When ``remove_retired`` has something to do even if no Envoy gets further; infinity: never."""
        return min((since for _, since in self._retired.values()), default=math.inf) + self._timeout
