"""The listener where statistics are scraped when Envoy's admin is a Unix socket: two pages, to be read.

One is Envoy's, the other the registrar's.  Every local user can ask here, so neither is made often.  Envoy
makes its page in the thread that takes in new listeners: asked for without end, it held up new ports 14 s.
To the registrar it is Envoy who asks, whom it attends to first: so its page is asked for on one connection.
"""

from shim.core.endpoint import Endpoint
from shim.core.envoy.json import EXTENSIONS, Json, socket_address

ADMIN_CLUSTER = "envoy_docker_shim_admin"
LISTENER = "envoy_docker_shim_scrape"
PAGE = "/stats/prometheus"
REGISTRAR_METRICS_CLUSTER = "envoy_docker_shim_registrar_metrics"
REGISTRAR_PAGE = "/registrar/metrics"
# Requests for each page, of all users together, at once and then in each second; beyond that: 429.
BURST, PER_SECOND = 10, 2
# Envoy's page without ?usedonly takes 13 times as long to make, 0.13 s for 1,000 ports: requests at once, and
# the seconds after which there may be one more.
WHOLE_BURST, WHOLE_PAUSE = 4, 5
# Answers of Envoy's admin that clients are still reading, a megabyte in memory each; beyond that: 503.
AT_ONCE = 16


def scrape_listener(address: Endpoint) -> Json:
    """A static listener that passes GET for each page on, and answers 404 to all else."""
    routes = [
        {
            "match": _get(PAGE) | {"query_parameters": [{"name": "usedonly", "present_match": True}]},
            "route": {"cluster": ADMIN_CLUSTER, "timeout": "30s"},
            "typed_per_filter_config": {"limit": _limit(BURST, PER_SECOND, 1)},
        },
        {
            "match": _get(PAGE),
            "route": {"cluster": ADMIN_CLUSTER, "timeout": "30s"},
            "typed_per_filter_config": {"limit": _limit(WHOLE_BURST, 1, WHOLE_PAUSE)},
        },
        {
            "match": _get(REGISTRAR_PAGE),
            "route": {
                "cluster": REGISTRAR_METRICS_CLUSTER,
                "timeout": "30s",
                "prefix_rewrite": "/metrics",
                "host_rewrite_literal": "localhost",  # one of the API's names, whatever this host is called
            },
            "typed_per_filter_config": {"limit": _limit(BURST, PER_SECOND, 1)},
        },
    ]
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": LISTENER,
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": "600s"},
        "route_config": {"virtual_hosts": [{"name": "scrape", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "limit", "typed_config": _limit()},
            {"name": "router", "typed_config": {"@type": EXTENSIONS + "filters.http.router.v3.Router"}},
        ],
    }
    return {
        "name": LISTENER,
        "address": socket_address(address.host, address.port),
        "stat_prefix": LISTENER,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def admin_limits() -> Json:
    """The field that the admin's cluster has for this listener beside its address."""
    limits = {"max_connections": AT_ONCE, "max_requests": AT_ONCE, "max_pending_requests": AT_ONCE}
    return {"circuit_breakers": {"thresholds": [limits]}}


def registrar_limits() -> Json:
    """The fields that the registrar's cluster has for this listener beside its address."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "circuit_breakers": {"thresholds": [{"max_connections": 1, "max_pending_requests": BURST}]},
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                # Less than the registrar's own, or a request meets a connection just closed.
                "common_http_protocol_options": {"idle_timeout": "5s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _get(path: str) -> Json:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}


def _limit(burst: int = 0, refill: int = 0, seconds: int = 0) -> Json:
    """So many requests at once, and ``refill`` more each ``seconds``; none given: no limit."""
    config: Json = {
        "@type": EXTENSIONS + "filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": LISTENER,
    }
    if burst:
        bucket = {"max_tokens": burst, "tokens_per_fill": refill, "fill_interval": f"{seconds}s"}
        config |= {"token_bucket": bucket, "filter_enabled": _always(), "filter_enforced": _always()}
    return config


def _always() -> Json:
    return {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
