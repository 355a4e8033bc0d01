"""The modes a published TCP port can be served in: a row each.

Labels, configuration, templates, leases, statistics and messages follow from this table.  To add a mode is to
add a row (and, where none like it is there yet, a network filter in filters.py and what is spoken to the
container in upstreams.py), and its line in docs/how-it-works.md.
"""

from typing import NamedTuple

from shim.core.envoy.access_log import OFF
from shim.core.envoy.filters import Extras, NetworkFilter, http_filter, tcp_filter
from shim.core.envoy.upstreams import HTTP_UPSTREAM, TCP_UPSTREAM, Upstream


class Mode(NamedTuple):
    """One row."""

    name: str  # in labels, configuration, `status` and messages
    meaning: str  # what it does with a connection, for the documentation
    network_filter: NetworkFilter  # what its listener does with a connection
    upstream: Upstream  # what its cluster speaks to the container
    statistics: str  # the root in Envoy's statistics below which its ports have theirs
    takes_network: bool = True  # network clients are led to Envoy, past Docker's own rules
    # What it does with connections that are not HTTP, where those are told apart (sniffing.py).
    otherwise: NetworkFilter | None = None

    @property
    def passes_bytes(self) -> bool:
        """Whether some of its connections, or all, are bytes to it."""
        return tcp_filter in (self.network_filter, self.otherwise)


AUTO = Mode(
    "auto",
    "tells each connection apart by its first bytes: HTTP as `http` has it, all else as `tcp`",
    http_filter,
    HTTP_UPSTREAM,
    "http",
    otherwise=tcp_filter,
)
HTTP = Mode("http", "a reverse proxy for HTTP/1.x, h2c and gRPC", http_filter, HTTP_UPSTREAM, "http")
TCP = Mode("tcp", "passes bytes, and counts connections", tcp_filter, TCP_UPSTREAM, "tcp")
DIRECT = Mode(
    "direct",
    "leaves network clients to Docker's own rules, and passes the bytes of this host's clients",
    tcp_filter,
    TCP_UPSTREAM,
    "tcp",
    takes_network=False,
)

MODES = {mode.name: mode for mode in (AUTO, HTTP, TCP, DIRECT)}

# What serves a container without labels, and one whose label is none of the modes.
DEFAULT_MODE = AUTO
FALLBACK_MODE = AUTO


def mode_names(quote: str = "") -> str:
    """The modes for a sentence, such as ``a, b or c``; ``quote`` is put around each."""
    return _listed("or", quote)


def none_of_the_modes() -> str:
    """What a text is that names no mode, such as ``none of a, b and c``."""
    return f"neither {_listed('nor')}" if len(MODES) == 2 else f"none of {_listed('and')}"


def _listed(conjunction: str, quote: str = "") -> str:
    *others, last = (f"{quote}{mode}{quote}" for mode in MODES)
    return f"{', '.join(others)} {conjunction} {last}"


# Who chose a port's mode: a label, the key `default_mode`; or for auto the container's port, or how its
# container was seen to behave.
BY_LABEL, BY_DEFAULT, BY_PORT, BY_SEEN = "label", "default", "port", "seen"


class Serving(NamedTuple):
    """How one port of a container is served.

    ``problem`` says what was wrong with the labels, for `status` and the log; empty: nothing.
    ``keeps_client``: the container is to see the addresses of clients on the network.
    ``access_log``: one of ``access_log.WORDS``.
    ``proxy_protocol``: the version in which it is told every client's address; 0: it is not told.
    ``chosen_by``: who chose the mode, one of the above.
    """

    mode: Mode
    problem: str = ""
    keeps_client: bool = False
    access_log: str = OFF
    chosen_by: str = BY_DEFAULT
    proxy_protocol: int = 0
    extras: Extras = Extras()

    @property
    def upstream(self) -> Upstream:
        """What its cluster speaks to the container."""
        version, usual = self.proxy_protocol, self.mode.upstream
        return usual if version == usual.proxy_protocol else usual._replace(proxy_protocol=version)
