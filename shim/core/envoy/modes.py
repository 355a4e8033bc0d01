"""The modes a published TCP port can be served in: a row each, and everything about a mode is in its row.

Labels, configuration, templates, leases and messages read this table; to add a mode is to add a row (and its
network filter, if Envoy has none like it here yet).
"""

from typing import NamedTuple

from shim.core.envoy.listeners import NetworkFilter, http_filter, tcp_filter
from shim.core.envoy.upstreams import Upstream


class Mode(NamedTuple):
    """One row."""

    name: str  # in labels, configuration, `status` and messages
    meaning: str  # what it does with a connection, for the documentation
    network_filter: NetworkFilter  # what its listener does with a connection
    upstream: Upstream  # what its cluster speaks to the container
    statistics: str  # the root in Envoy's statistics below which its ports have theirs


HTTP = Mode("http", "a reverse proxy for HTTP/1.x, h2c and gRPC", http_filter, Upstream.HTTP, "http")
TCP = Mode("tcp", "passes bytes", tcp_filter, Upstream.TCP, "tcp")

MODES = {mode.name: mode for mode in (HTTP, TCP)}

# What serves a container without labels, and one whose label is none of the modes.
DEFAULT_MODE = HTTP
FALLBACK_MODE = HTTP


def mode_names(conjunction: str) -> str:
    """The modes for a message: ``http or tcp`` with "or"."""
    *others, last = MODES
    return f"{', '.join(others)} {conjunction} {last}"


class Serving(NamedTuple):
    """How one port of a container is served.

    ``problem`` says what was wrong with the labels, for `status` and the log; empty: nothing.
    """

    mode: Mode
    problem: str = ""
