"""Envoy's clusters: one a container port, by a name that is its own as long as somebody needs it."""

import math
from collections.abc import Callable

from shim.core.binding import Backend
from shim.core.labels import cluster_names
from shim.core.lease import Lease
from shim.core.versions import Resource, VersionedSet

ClusterMaker = Callable[[str, Backend, bool], Resource]


class Clusters:
    """A cluster stays until the listeners that led to it have left every Envoy, or ``patience`` is over."""

    def __init__(self, make: ClusterMaker, patience: float) -> None:
        """``patience``: seconds."""
        self.resources = VersionedSet()
        self._make = make
        self._patience = patience
        self._users: dict[str, list[int]] = {}  # cluster -> leases
        self._backends: dict[
            str, tuple[Backend, bool]
        ] = {}  # cluster -> what it stands for, and whether HTTP
        self._sequences: dict[str, int] = {}  # cluster -> when it was put
        self._retired: dict[str, tuple[int, float]] = {}  # cluster -> listeners' sequence, since

    def __contains__(self, name: str) -> bool:
        return name in self._users

    def backend_of(self, name: str) -> Backend | None:
        """What a cluster stands for."""
        return self._backends[name][0] if name in self._backends else None

    def sequence_of(self, name: str) -> int:
        """What an Envoy must have processed to know this cluster."""
        return self._sequences[name]

    def claim(self, lease: Lease, http: bool) -> str:
        """The cluster for this lease's backend."""
        backend, service = lease.binding.backend, lease.service
        assert service is not None
        for name in cluster_names(service, lease.binding):
            others = [user for user in self._users.get(name, ()) if user != lease.id]
            if not others or self._backends[name] == (backend, http):
                break
        if self._backends.get(name) != (backend, http):
            self._backends[name] = (backend, http)
            self.resources.put(name, self._make(name, backend, http))
            self._sequences[name] = self.resources.sequence
        self._retired.pop(name, None)
        users = self._users.setdefault(name, [])
        if lease.id not in users:
            users.append(lease.id)
        return name

    def leave(self, name: str, lease: Lease, listeners: int, now: float) -> None:
        """The lease does not lead to this cluster any more, from this sequence of the listeners on."""
        users = self._users[name]
        if lease.id in users:
            users.remove(lease.id)
        if not users:
            self._retired[name] = (listeners, now)

    def drop_retired(self, processed: float, now: float) -> None:
        """Take out what no listener leads to: every Envoy has processed these listeners."""
        for name, (sequence, since) in list(self._retired.items()):
            if processed >= sequence or now - since >= self._patience:
                del self._retired[name], self._users[name], self._backends[name], self._sequences[name]
                self.resources.remove(name)

    def due(self) -> float:
        """When ``drop_retired`` has something to do even if no Envoy gets further."""
        return min((since for _, since in self._retired.values()), default=math.inf) + self._patience
