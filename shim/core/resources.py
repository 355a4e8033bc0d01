"""What Envoy is told: one listener and one cluster a binding, as JSON-ready v3 resources.

Pure.  Every function returns a new dict whose shape depends on its flags and options only, never on
the text it is given: each text argument appears verbatim inside JSON strings, so that a caller may
build a resource once from placeholders and make the others by replacing bytes.

Lean on purpose: each answer costs Envoy's main thread 0.1 s a megabyte, so a field is here only where
Envoy's default breaks something, and limits for all are in the bootstrap's runtime.  Each field was
seen to matter on Envoy 1.40 (tests/envoy).

What a caller passes as ``name``, ``stat_prefix`` and ``cluster``: a listener's name is any non-empty text;
``stat_prefix`` and cluster names are ``[A-Za-z0-9_-]`` only, since a dot breaks Prometheus labels.
"""

from typing import Any, NamedTuple

from shim.core.binding import Service
from shim.core.tracing import EXTENSIONS, Json, Tracing, drop_empty_tracestate, request_id, tracing_config

LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

# Upgrade types need naming one by one: Envoy has no wildcard and answers 403 to the others.
UPGRADES = ("websocket", "tcp", "SPDY/3.1")

# More than what any proxy or server in front of a backend waits for by default.
REQUEST_HEADERS_TIMEOUT = "60s"

_NO_LIMIT = 4294967295


class HttpOptions(NamedTuple):
    """What the configuration says for HTTP mode; the same for every binding."""

    tracing: Tracing | None = None
    trusted_hops: int = 0


def http_listener(
    name: str,
    ip: str,
    port: int,
    stat_prefix: str,
    cluster: str,
    service: Service,
    options: HttpOptions,
    *,
    freebind: bool = False,
) -> Json:
    """A listener in http mode.  ``service`` is what ``tracing.service_for`` gave.

    ``freebind``: bind although the address is not on the host (yet); for specific addresses only.
    """
    manager = _http_manager(stat_prefix, cluster, options)
    if options.tracing is not None:
        manager["tracing"] = tracing_config(service, options.tracing)
    return _listener(name, ip, port, stat_prefix, {"name": "http", "typed_config": manager}, freebind)


def tcp_listener(
    name: str, ip: str, port: int, stat_prefix: str, cluster: str, *, freebind: bool = False
) -> Json:
    """A listener in tcp mode: bytes, half-closes and resets pass as they come."""
    proxy = {
        "@type": EXTENSIONS + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": stat_prefix,
        "cluster": cluster,
        "idle_timeout": "0s",  # the default closes a silent connection after an hour
    }
    return _listener(name, ip, port, stat_prefix, {"name": "tcp", "typed_config": proxy}, freebind)


def cluster(name: str, backend_ip: str, backend_port: int, http: bool) -> Json:
    """One container port.  STATIC with its endpoint inline, so that Envoy needs no EDS poll for it."""
    # The default of 1024 connections answers the next with 503.  Each threshold is a hard limit on
    # something a docker-proxy never limits; tcp knows no requests.
    limits = {"max_connections": _NO_LIMIT, "max_pending_requests": _NO_LIMIT}
    if http:
        limits["max_requests"] = _NO_LIMIT
    resource = {
        "@type": CLUSTER_TYPE,
        "name": name,
        "type": "STATIC",
        "connect_timeout": "30s",
        "upstream_connection_options": {"tcp_keepalive": _keepalive()},
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": _assignment(name, backend_ip, backend_port),
    }
    if http:
        resource["typed_extension_protocol_options"] = _http_upstream()
    return resource


def cluster_load_assignment(name: str, ip: str, port: int) -> Json:
    """The endpoint of cluster ``name``, as POST /v3/discovery:endpoints serves it."""
    return {"@type": ENDPOINTS_TYPE, **_assignment(name, ip, port)}


def socket_address(ip: str, port: int) -> Json:
    return {"socket_address": {"address": ip, "port_value": port}}


def _assignment(name: str, ip: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": socket_address(ip, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _listener(name: str, ip: str, port: int, stat_prefix: str, network_filter: Json, freebind: bool) -> Json:
    listener: Json = {
        "@type": LISTENER_TYPE,
        "name": name,
        "address": socket_address(ip, port),
        "stat_prefix": stat_prefix,  # else a metric is named after the address
        "tcp_keepalive": _keepalive(),
        "filter_chains": [{"filters": [network_filter]}],
    }
    if freebind:
        listener["freebind"] = True
    return listener


def _keepalive() -> Json:
    """Idle timeouts are off, so this is what finds a peer that has silently gone: 60 + 3 * 15 seconds."""
    return {"keepalive_probes": 3, "keepalive_time": 60, "keepalive_interval": 15}


def _http_manager(stat_prefix: str, cluster: str, options: HttpOptions) -> Json:
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        "route_config": _routes(cluster),
        "http_filters": [_router(options)],
        # A silent stream, a slow upload and an idle keep-alive connection are all the backend's affair.
        "stream_idle_timeout": "0s",
        # But for the head of a request, from its first byte on: Envoy has to keep it until then.
        "request_headers_timeout": REQUEST_HEADERS_TIMEOUT,
        "common_http_protocol_options": {"idle_timeout": "0s"},
        "http_protocol_options": {
            "accept_http_10": True,  # else 426
            "default_host_for_http_10": "localhost",  # else an HTTP/1.0 request without Host gets 400
            "enable_trailers": True,
            "header_key_format": _preserve_case(formatter_type_on_envoy_headers="PROPER_CASE"),
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


def _routes(cluster: str) -> Json:
    return {
        # The cluster may come after the listener, or go before it: 503 meanwhile, never a refused listener.
        "validate_clusters": False,
        # use_remote_address adds it beside X-Forwarded-For, and no backend asked for it.
        "request_headers_to_remove": ["x-envoy-external-address"],
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
            }
        ],
    }


def _router(options: HttpOptions) -> Json:
    """Adds no X-Envoy-Expected-Rq-Timeout-Ms to requests, no X-Envoy-Upstream-Service-Time to answers."""
    router: Json = {"@type": EXTENSIONS + "filters.http.router.v3.Router", "suppress_envoy_headers": True}
    if options.tracing is not None and options.tracing.kind == "otlp":
        router["upstream_http_filters"] = drop_empty_tracestate()
    return {"name": "router", "typed_config": router}


def _preserve_case(**settings: Any) -> Json:
    """Header names as the sender wrote them.  A message carries the setting of the side it came in by:
    the listener's is for requests, the cluster's for answers."""
    config = {
        "@type": EXTENSIONS + "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
        **settings,
    }
    return {"stateful_formatter": {"name": "preserve_case", "typed_config": config}}


def _http_upstream() -> Json:
    """HTTP/1.1 or h2c to the backend, whichever the client spoke: gRPC works, and nothing is translated."""
    options = EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
    http1 = {
        "enable_trailers": True,
        # Some old servers send both lengths; Envoy drops the wrong one.  For requests it stays an error.
        "allow_chunked_length": True,
        "header_key_format": _preserve_case(
            forward_reason_phrase=True, formatter_type_on_envoy_headers="PROPER_CASE"
        ),
    }
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": options,
            # Shorter than any common server's keep-alive, or a request meets a connection just closed: 503.
            "common_http_protocol_options": {"idle_timeout": "1s"},
            "use_downstream_protocol_config": {"http_protocol_options": http1},
        }
    }
