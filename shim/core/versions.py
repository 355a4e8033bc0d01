"""A set of named xDS resources with a version that is a hash of its content.

The version must be the same whenever the content is (a registrar that restarts must cause no reload)
and cheap to keep: it is the sum of the resources' own hashes, so that a change costs the same with
ten resources and with ten thousand, and the order does not matter.
"""

from collections.abc import Iterator
from hashlib import blake2b

_MODULUS = 1 << 128


class VersionedSet:
    """Named resources as JSON bytes.  ``sequence`` counts changes; it never goes back."""

    def __init__(self) -> None:
        self._resources: dict[str, bytes] = {}
        self._sum = 0
        self.sequence = 0

    @property
    def version(self) -> str:
        return f"{self._sum:032x}"

    def __contains__(self, name: str) -> bool:
        return name in self._resources

    def __len__(self) -> int:
        return len(self._resources)

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def put(self, name: str, resource: bytes) -> bool:
        """Add or replace; says whether anything changed."""
        old = self._resources.get(name)
        if old == resource:
            return False
        self._resources[name] = resource
        self._changed(_digest(resource) - (_digest(old) if old is not None else 0))
        return True

    def remove(self, name: str) -> bool:
        """Take out, if it is in; says whether anything changed."""
        old = self._resources.pop(name, None)
        if old is None:
            return False
        self._changed(-_digest(old))
        return True

    def body(self, version: str) -> bytes:
        """The discovery answer: every resource, as JSON."""
        return b'{"version_info":"%s","resources":[%s]}' % (
            version.encode(),
            b",".join(self._resources.values()),
        )

    def _changed(self, difference: int) -> None:
        self._sum = (self._sum + difference) % _MODULUS
        self.sequence += 1


def _digest(resource: bytes) -> int:
    return int.from_bytes(blake2b(resource, digest_size=16).digest(), "big")
