"""What a discovery request says, as far as anything is done with it.

Any local user may send one, and it is kept for as long as its poll is held: no part of it is longer here
than what an Envoy configured by `bootstrap` sends.
"""

import json
from collections import OrderedDict
from typing import Any, NamedTuple

from shim.core.envoy_versions import parse_version
from shim.core.text import printable

# The registrar's versions are 32 digits and a retry's number, and "[::1]:65535" is a long address.
# In characters.
VERSION_LIMIT = 64
ADMIN_LIMIT = 128
# How many Envoys' descriptions of themselves are kept.
KNOWN_LIMIT = 64


class DiscoveryRequest(NamedTuple):
    """``admin`` is the Envoy's admin address, which `bootstrap` puts into the node's metadata; or empty.

    ``build`` is the Envoy's own version, such as "1.40.0", or empty.
    """

    node: str
    version: str
    admin: str
    names: frozenset[str]
    build: str = ""


def parse_request(body: bytes) -> DiscoveryRequest:
    """The request in this body.  Raises ValueError, with a text of at most 200 characters for the sender."""
    try:
        document = json.loads(body)
        node = document["node"]
        identity = node["id"]
        version = document.get("version_info", "")
        if not (isinstance(identity, str) and printable(identity) and isinstance(version, str)):
            raise TypeError("node.id and version_info must be texts")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from None
    names = document.get("resource_names")
    wanted = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
    # A truncated version never matches a served one; neither did the long one.
    return DiscoveryRequest(
        printable(identity),
        version[:VERSION_LIMIT],
        _admin_of(node),
        frozenset(wanted),
        parse_version(node.get("user_agent_build_version")),
    )


class RequestReader:
    """Reads discovery requests: what an Envoy says of itself, 60 kB and always the same, only once.

    Envoy writes JSON in the order of the fields' numbers: only the version stands before the node.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[int, DiscoveryRequest] = OrderedDict()

    def read(self, body: bytes) -> DiscoveryRequest:
        """As ``parse_request``, and raises the same."""
        at = body.find(b'"node":')
        version = _version_of(body[:at]) if at > 0 else None
        if version is None:
            return parse_request(body)
        rest = body[at:]
        key = hash(rest)
        known = self._known.get(key)
        if known is not None:
            return known._replace(version=version[:VERSION_LIMIT])
        request = parse_request(body)
        if not request.names and b"version_info" not in rest:
            self._known[key] = request
            if len(self._known) > KNOWN_LIMIT:
                self._known.popitem(last=False)
        return request


def _version_of(head: bytes) -> str | None:
    """The version, if that is all that this beginning of a request says."""
    try:
        document = json.loads(head.rstrip(b" ,") + b"}")
    except (ValueError, RecursionError):
        return None
    version = document.pop("version_info", "")
    return version if not document and isinstance(version, str) else None


def _admin_of(node: dict[str, Any]) -> str:
    metadata = node.get("metadata")
    entry = metadata.get("envoy-docker-shim") if isinstance(metadata, dict) else None
    admin = entry.get("admin") if isinstance(entry, dict) else None
    return printable(admin) if isinstance(admin, str) and len(admin) <= ADMIN_LIMIT else ""
