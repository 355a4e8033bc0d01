"""One span, as it is kept; and what is said of it."""

from collections.abc import Mapping
from typing import NamedTuple

# Beside the texts of its attributes, what Python takes for a span (bytes): see tests/core/traces.
BASE_WEIGHT, TEXT_WEIGHT = 900, 56
TITLE_LIMIT = 300  # characters

KINDS = ("", "internal", "server", "client", "producer", "consumer")  # by OTLP's number


class Span(NamedTuple):
    """``trace``, ``id`` and ``parent`` are hexadecimal digits; an empty ``parent``: it has none.

    ``start`` and ``end`` are nanoseconds since the epoch.  ``error``: its sender calls it one.  ``resource``
    is what its service says of itself, and one object for all spans of a service.
    """

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    start: int
    end: int
    error: bool
    attributes: Mapping[str, str]
    resource: Mapping[str, str]

    @property
    def service(self) -> str:
        """Its service's name; empty where nobody says."""
        return self.resource.get("service.name", "")

    @property
    def duration(self) -> int:
        """Nanoseconds."""
        return max(0, self.end - self.start)

    @property
    def status(self) -> int | None:
        """HTTP's status of the answer; 0: the client got none; None: it is no span of HTTP."""
        text = self.attributes.get("http.status_code") or self.attributes.get("http.response.status_code")
        return (
            int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 4 else None
        )

    @property
    def failed(self) -> bool:
        """As `logs --errors` has it: an answer from 400 on or none; or an error by its sender's word."""
        status = self.status
        return self.error or (status is not None and (status == 0 or status >= 400))

    @property
    def title(self) -> str:
        """What was asked for: its name, which is the method with Envoy's, and the URL without its scheme."""
        url = self.attributes.get("http.url") or self.attributes.get("url.full") or ""
        asked = url.partition("://")[2] or url
        return f"{self.name} {asked}".strip()[:TITLE_LIMIT]

    @property
    def weight(self) -> int:
        """About what it takes of memory, in bytes."""
        # Python keeps a text in up to four bytes a character if any of them is not ASCII.
        texts = sum(len(text) if text.isascii() else 4 * len(text) for text in self.attributes.values())
        return BASE_WEIGHT + len(self.name) + texts + TEXT_WEIGHT * len(self.attributes)

    def is_of(self, service: str) -> bool:
        """Whether ``service`` is its service's name, with ``/environment`` or not, or its container's."""
        name, environment = self.service, self.resource.get("deployment.environment.name")
        return service in (name, f"{name}/{environment}", self.resource.get("container.name"))
