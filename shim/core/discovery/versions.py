"""A set of named xDS resources with a version that is a hash of its content.

The version must be the same whenever the content is (a registrar that restarts must cause no reload)
and cheap to keep: it is the sum of the resources' own hashes, so that a change costs the same with
ten resources and with ten thousand, and the order does not matter.

Ten thousand listeners are 20 MB of JSON, nearly all of it the same words.  So a resource is kept in pieces,
of which most are one object for all (see templates.py), and is put together only while it is sent.
"""

from collections.abc import Iterator
from hashlib import blake2b

_MODULUS = 1 << 128
# Resources that are put together at a time: some 100 kB.
_BATCH = 64

# JSON in pieces, as they follow each other.
Resource = tuple[bytes, ...]


class Body:
    """A discovery answer with the resources as they were when it was made.  Iterating gives it in parts."""

    def __init__(self, version: str, resources: list[Resource], size: int) -> None:
        """``size``: bytes of all resources."""
        self._start = b'{"version_info":"%s","resources":[' % version.encode()
        self._resources = resources
        self._size = len(self._start) + size + max(0, len(resources) - 1) + 2

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        pieces = [self._start]
        for number, resource in enumerate(self._resources, 1):
            pieces += resource
            if number == len(self._resources):
                break
            pieces.append(b",")
            if number % _BATCH == 0:
                yield b"".join(pieces)
                pieces.clear()
        pieces.append(b"]}")
        yield b"".join(pieces)

    def __bytes__(self) -> bytes:
        return b"".join(self)


class VersionedSet:
    """Named resources.  ``sequence`` counts changes; it never goes back."""

    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}
        self._sum = 0
        self._size = 0
        self.sequence = 0

    @property
    def version(self) -> str:
        """32 hexadecimal digits, the same whenever the content is."""
        return f"{self._sum:032x}"

    def __contains__(self, name: object) -> bool:
        return name in self._resources

    def __len__(self) -> int:
        return len(self._resources)

    def __iter__(self) -> Iterator[str]:
        return iter(self._resources)

    def put(self, name: str, resource: Resource) -> bool:
        """Add or replace; returns whether anything changed."""
        old = self._resources.get(name, ())
        if old == resource:
            return False
        self._resources[name] = resource
        self._changed(old, resource)
        return True

    def remove(self, name: str) -> bool:
        """Take out, if it is in; returns whether anything changed."""
        old = self._resources.pop(name, None)
        if old is None:
            return False
        self._changed(old, ())
        return True

    def body(self, version: str) -> Body:
        """The discovery answer: every resource, as JSON."""
        return Body(version, list(self._resources.values()), self._size)

    def _changed(self, old: Resource, new: Resource) -> None:
        for resource, sign in ((old, -1), (new, 1)):
            if resource:
                text = b"".join(resource)
                self._sum = (self._sum + sign * _digest(text)) % _MODULUS
                self._size += sign * len(text)
        self.sequence += 1


def _digest(resource: bytes) -> int:
    return int.from_bytes(blake2b(resource, digest_size=16).digest(), "big")
