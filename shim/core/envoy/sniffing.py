"""Mode auto: HTTP or not, told by each connection's first bytes; and what Envoy then says of its containers.

A client that speaks first is told apart at once.  One that is silent may wait for the container to speak, and
is passed on as bytes after WAIT: whoever publishes such a container pays that with every connection.  So
Envoy counts the connections in which the container spoke first, and the registrar asks for these counters
(shim.registrar.spoke_first) and serves the port as bytes from then on.

Seen on Envoy 1.40: the filter ``rbac`` in shadow mode, which lets everything pass, evaluates its condition
with a connection's first byte from the client, or its end.  Bytes that the container has sent until then
(``response.size``) are bytes of a container that did not wait for its client.  Clients alone cannot raise
that counter: who connects and is silent, or is slow to speak, is counted among the others.
"""

import re
from collections.abc import Iterable, Iterator

from shim.core.envoy.json import EXTENSIONS, Json

# What the inspector calls HTTP, as ``application_protocols`` has it.
HTTP_PROTOCOLS = ("http/1.0", "http/1.1", "h2c")
# How long a silent client is waited for.  Clients of HTTP speak at once; one that does not is served all the
# same, and is missing in the metrics of HTTP.
WAIT = "0.2s"

# The counters' prefix, where the bootstrap's list of wanted statistics has all that tcp's ports have.
_PREFIX = "tcp"
_COUNTER = re.compile(rf"{_PREFIX}\.([A-Za-z0-9_-]+)\.rbac\.shadow_allowed: [1-9]")
_ANSWERED = re.compile(r"cluster\.([A-Za-z0-9_-]+)\.upstream_rq_[1-4]xx: [1-9]")
# Pages of Envoy's admin, for `spoke_first` and `answered_http`; in %: ^ | [ ] \ $ +
SPOKE_FIRST_PAGE = rf"/stats?usedonly&filter=%5E{_PREFIX}%5C..%2B%5C.rbac%5C.shadow_allowed%24"
ANSWERED_PAGE = r"/stats?usedonly&filter=%5Ecluster%5C..%2B%5C.upstream_rq_%5B1-4%5Dxx%24"


def inspector() -> Json:
    """The part of a listener that looks at the first bytes."""
    kind = EXTENSIONS + "filters.listener.http_inspector.v3.HttpInspector"
    return {
        "listener_filters": [{"name": "http_inspector", "typed_config": {"@type": kind}}],
        "listener_filters_timeout": WAIT,
        "continue_on_listener_filters_timeout": True,
    }


def http_match() -> Json:
    """What a filter chain is for that has the HTTP connections of such a listener."""
    return {"application_protocols": list(HTTP_PROTOCOLS)}


def counts_who_speaks_first(origin: str) -> Json:
    """The network filter that counts, and does nothing else; ``origin`` [A-Za-z0-9_-] names the counters."""
    size = {"select_expr": {"operand": {"ident_expr": {"name": "response"}}, "field": "size"}}
    condition = {"call_expr": {"function": "_>_", "args": [size, {"const_expr": {"int64_value": 0}}]}}
    everybody = {
        "permissions": [{"any": True}],
        "principals": [{"any": True}],
        "condition": condition,
        "cel_config": {},  # else each listener has an evaluator of its own, of 40 kB
    }
    counts = {
        "@type": EXTENSIONS + "filters.network.rbac.v3.RBAC",
        "stat_prefix": f"{_PREFIX}.{origin}",
        "shadow_rules": {"policies": {"spoke_first": everybody}},
    }
    return {"name": "spoke_first", "typed_config": counts}


def spoke_first(lines: Iterable[str]) -> Iterator[str]:
    """The origins whose container has spoken first, from the lines of SPOKE_FIRST_PAGE."""
    return (found[1] for line in lines if (found := _COUNTER.match(line)))


def answered_http(lines: Iterable[str]) -> Iterator[str]:
    """The clusters whose container has answered HTTP, from the lines of ANSWERED_PAGE."""
    return (found[1] for line in lines if (found := _ANSWERED.match(line)))
