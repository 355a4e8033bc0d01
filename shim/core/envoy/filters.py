"""Network filters: what a listener does with each connection, a function for each way of serving (modes.py).

Pure: every function returns a new dict whose shape depends on its options only, and on which texts of the
service are empty (those are left out).  Each text argument appears verbatim inside JSON strings, so that a
caller may build a resource once from placeholders and make the others by replacing bytes (templates.py).

Lean on purpose: each answer costs Envoy's main thread 0.1 s a megabyte, so a field is here only where
Envoy's default breaks something, and limits for all are in the bootstrap's runtime.  Each field was
seen to matter on Envoy 1.40 (tests/envoy).
"""

from collections.abc import Callable
from typing import NamedTuple

from shim.core.envoy.access_log import AccessLog, http_log, tcp_log
from shim.core.envoy.json import EXTENSIONS, Json, preserve_case
from shim.core.envoy.tracing import Collector, drop_empty_tracestate, request_id, tracing_config
from shim.core.service import Service

# Upgrade types need naming one by one: Envoy has no wildcard and answers 403 to the others.
UPGRADES = ("websocket", "tcp", "SPDY/3.1")

# More than what any proxy or server in front of a backend waits for by default.
REQUEST_HEADERS_TIMEOUT = "60s"


NEVER = "0s"


class HttpOptions(NamedTuple):
    """What the configuration says for HTTP, the same for every binding; and what labels make of it.

    ``trusted_hops``: how many proxies in front of this host are believed about X-Forwarded-For.  The timeouts
    are in Envoy's words, such as ``1.5s``.
    """

    tracing: Collector | None = None
    trusted_hops: int = 0
    log: AccessLog | None = None
    idle_timeout: str = NEVER  # in tcp mode too
    request_timeout: str = NEVER


class Extras(NamedTuple):
    """What labels say of a port besides its mode; without any it is served as the configuration says."""

    tracing: bool = True  # False: no spans, although there is a collector
    sampling: float | None = None  # percent
    idle_timeout: str = NEVER
    request_timeout: str = NEVER

    def applied_to(self, options: HttpOptions) -> HttpOptions:
        """The options for a port that has these."""
        tracing = options.tracing if self.tracing else None
        if tracing is not None and self.sampling is not None:
            tracing = tracing._replace(sampling=self.sampling)
        return options._replace(
            tracing=tracing, idle_timeout=self.idle_timeout, request_timeout=self.request_timeout
        )


# (stat_prefix, cluster, service, options) -> a network filter.  ``service`` is from ``tracing.service_for``.
NetworkFilter = Callable[[str, str, Service, HttpOptions], Json]


def http_filter(stat_prefix: str, cluster: str, service: Service, options: HttpOptions) -> Json:
    """HTTP by a connection manager, with traces."""
    manager = _http_manager(stat_prefix, cluster, options)
    if options.tracing is not None:
        manager["tracing"] = tracing_config(service, options.tracing)
    if options.log is not None:
        manager["access_log"] = http_log(options.log, options.tracing)
    return {"name": "http", "typed_config": manager}


def tcp_filter(stat_prefix: str, cluster: str, service: Service, options: HttpOptions) -> Json:
    """Bytes, half-closes and resets pass as they come."""
    proxy: Json = {
        "@type": EXTENSIONS + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": stat_prefix,
        "cluster": cluster,
        "idle_timeout": options.idle_timeout,  # the default closes a silent connection after an hour
    }
    if options.log is not None:
        proxy["access_log"] = tcp_log(options.log)
    return {"name": "tcp", "typed_config": proxy}


def _http_manager(stat_prefix: str, cluster: str, options: HttpOptions) -> Json:
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        "route_config": _routes(cluster, options),
        "http_filters": [_router(options)],
        # How long a stream, an upload or a kept-alive connection may be silent is the backend's decision,
        # unless a label says it.
        "stream_idle_timeout": options.idle_timeout,
        # The head of a request is Envoy's to keep until it is whole, so its time is bounded.
        "request_headers_timeout": REQUEST_HEADERS_TIMEOUT,
        "common_http_protocol_options": {"idle_timeout": options.idle_timeout},
        "http_protocol_options": {
            "accept_http_10": True,  # else 426
            "default_host_for_http_10": "localhost",  # else an HTTP/1.0 request without Host gets 400
            "enable_trailers": True,
            "header_key_format": preserve_case(formatter_type_on_envoy_headers="PROPER_CASE"),
        },
        "upgrade_configs": [{"upgrade_type": kind} for kind in UPGRADES],
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "request_id_extension": request_id(options.tracing),
        "proxy_100_continue": True,  # else Envoy answers 100 itself, and a refusal never reaches the client
    }
    if options.trusted_hops > 0:
        manager["xff_num_trusted_hops"] = options.trusted_hops
    return manager


def _routes(cluster: str, options: HttpOptions) -> Json:
    # Counted from the end of the request to the end of the answer.
    route = {"cluster": cluster, "timeout": options.request_timeout}
    return {
        # The cluster may come after the listener, or go before it: 503 meanwhile, never a refused listener.
        "validate_clusters": False,
        # use_remote_address adds it beside X-Forwarded-For, and no backend asked for it.
        "request_headers_to_remove": ["x-envoy-external-address"],
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": route}],
            }
        ],
    }


def _router(options: HttpOptions) -> Json:
    """Adds no X-Envoy-Expected-Rq-Timeout-Ms to requests, no X-Envoy-Upstream-Service-Time to answers."""
    router: Json = {"@type": EXTENSIONS + "filters.http.router.v3.Router", "suppress_envoy_headers": True}
    if options.tracing is not None and options.tracing.is_otlp:
        router["upstream_http_filters"] = drop_empty_tracestate()
    return {"name": "router", "typed_config": router}
