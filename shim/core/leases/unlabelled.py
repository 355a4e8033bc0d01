"""Containers whose labels are not known yet, the one that has waited longest first."""

from collections.abc import Iterator

from shim.core.leases.lease import Lease


class Unlabelled:
    """A container whose labels are not known: its leases without any, and when the last of them came.

    A container with many ports takes a while to start, its shims registering one by one: every wait for its
    labels is counted from the last of them.
    """

    __slots__ = ("asked", "leases", "since")

    def __init__(self) -> None:
        self.leases: set[int] = set()
        self.since = 0.0
        self.asked = 0  # how often Docker was asked about it since then


class UnlabelledContainers:
    """By their address."""

    def __init__(self) -> None:
        self._containers: dict[str, Unlabelled] = {}

    def __iter__(self) -> Iterator[Unlabelled]:
        return iter(self._containers.values())

    def add(self, lease: Lease) -> bool:
        """Add a lease.  Whether its container is to be asked about: it is new, or was asked about in vain."""
        ip = lease.binding.backend.ip
        # Put at the end, so that they stand by their age.
        container = self._containers.pop(ip, None) or Unlabelled()
        self._containers[ip] = container
        new = not container.leases or container.asked > 0
        container.leases.add(lease.id)
        container.since, container.asked = lease.since, 0
        return new

    def discard(self, lease: Lease) -> None:
        """Take out a lease whose labels are known, or that has ended."""
        ip = lease.binding.backend.ip
        container = self._containers.get(ip)
        if container is not None:
            container.leases.discard(lease.id)
            if not container.leases:
                del self._containers[ip]
