"""The bootstrap of an Envoy that is fed by the registrar: where to ask, and the limits for all listeners."""

from ipaddress import ip_address
from typing import Any

from shim.core.endpoint import Endpoint
from shim.core.envoy.json import Json, socket_address
from shim.core.envoy.modes import MODES
from shim.core.envoy.scrape import (
    ADMIN_CLUSTER,
    REGISTRAR_METRICS_CLUSTER,
    admin_limits,
    registrar_limits,
    scrape_listener,
)
from shim.core.envoy.sinks import METRICS_CLUSTER, Sinks, stats_sinks
from shim.core.envoy.tracing import COLLECTOR_CLUSTER, LOCAL, OTLP, Collector, local_runtime

REGISTRAR_CLUSTER = "envoy_docker_shim_registrar"

# In node.metadata, so that the registrar learns with the first request where each Envoy's admin is.
METADATA_KEY = "envoy-docker-shim"

# Envoy asks again 1 to 2 times this long after an answer: the pause between two pushes, and what a port's
# release waits for its acknowledgement.
REFRESH_DELAY = "0.02s"

# So it does after a failure, but the poll itself is tried again before it has failed: the registrar's cluster
# retries what got no answer, at intervals of its own.  A poll that fails for good is a line in the log, and
# its 77 kB are made anew; a try is neither.  While the registrar is down: 58 lines a second and 9 % of a core
# without retries, 2 lines a minute and 0.7 % with them.  The first pause is up to RETRY_FIRST, the longest up
# to RETRY_LAST: a registrar that comes back waits no longer for its Envoys (ENVOY_RETURN in shim/registrar).
RETRY_FIRST, RETRY_LAST = "0.02s", "0.25s"
# In a row, some 60 s: then the log has a line.
RETRIES = 500
# The registrar ends a poll well before this.
POLL_TIMEOUT = "60s"
# That of all tries together; each has the one above.
REQUEST_TIMEOUT = "3600s"

# How long a listener that goes away leaves its open connections to end by themselves: Envoy's --drain-time-s,
# wherever an Envoy is started (seconds).
DRAIN_TIME = 3600

# A head is kept until it is whole, and its sender may take its time: 150 heads of 8 MB made Envoy 1.2 GB.
# Envoy's own limit is 60 kB, and there are applications that answer with more cookies than that.
MAX_HEADER_KB = 256
# From here on Envoy turns new work away, rather than be killed with all it serves (its unit: MemoryMax=2G).
# A thousand ports take 0.1 GB.
HEAP_MB = 1536

# The pages of Envoy's admin that stay reachable: reading them changes nothing.  The admin has no password and
# takes a POST from any web page, so all others (/quitquitquit, /logging, /drain_listeners) are closed.
ADMIN_PAGES = (
    "ready|stats|stats/prometheus|config_dump|server_info|clusters|listeners|certs|memory|runtime|init_dump"
)

# A thousand services have 300,000 statistics, of which an operator needs these.  What a service has under its
# mode's root and tracing. is all kept; clusters and listeners keep what there is to watch.
STAT_PREFIXES = (
    *dict.fromkeys(f"{mode.statistics}." for mode in MODES.values()),
    *("tracing.", "listener_manager.", "cluster_manager.", "server.", "runtime."),
)
STAT_PATTERNS = (
    r"cluster\.[^.]+\.("
    r"upstream_rq_(total|time|xx|[1-5]xx|\d\d\d|active|pending_active|pending_overflow|timeout|rx_reset|tx_reset)"
    r"|upstream_cx_(total|active|connect_fail|connect_timeout|connect_ms|length_ms|overflow"
    r"|rx_bytes_total|tx_bytes_total|destroy_remote_with_active_rq|none_healthy|protocol_error)"
    r"|membership_(total|healthy)|update_(attempt|success|failure|rejected))",
    r"listener\.[^.]+\.(downstream_cx_(total|active|length_ms|overflow)|downstream_pre_cx_timeout|no_filter_chain_match)",
)

# Milliseconds.  Envoy's own start at 0.5 and end at an hour, 20 of them a histogram.
LATENCY_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)


def bootstrap(
    node_id: str,
    node_cluster: str,
    registrar: Endpoint,
    admin: Endpoint,
    collector: Collector | None = None,
    *,
    scrape: Endpoint | None = None,
    refresh_delay: str = REFRESH_DELAY,
    max_header_kb: int = MAX_HEADER_KB,
    heap_mb: int = HEAP_MB,
    sinks: Sinks = Sinks(),  # noqa: B008 (immutable)
) -> Json:
    """The whole bootstrap, ready to be dumped as YAML or JSON.

    ``registrar`` is where discovery is served, ``admin`` where Envoy's admin listens.  ``node_cluster`` is
    the service name of every Zipkin span.  ``scrape`` is where statistics can be read if the admin is a Unix
    socket.  ``sinks``: where Envoy sends its statistics by itself.
    """
    clusters = [_registrar_cluster(registrar)]
    listeners = []
    if admin.path and scrape is not None:
        clusters.append(fixed_cluster(ADMIN_CLUSTER, admin) | admin_limits())
        clusters.append(fixed_cluster(REGISTRAR_METRICS_CLUSTER, registrar) | registrar_limits())
        listeners.append(scrape_listener(scrape))
    to_registrar = collector is not None and collector.kind == LOCAL
    if collector is not None and not to_registrar:
        clusters.append(_collector_cluster(collector))
    if sinks.otlp is not None:
        clusters.append(fixed_cluster(METRICS_CLUSTER, sinks.otlp) | _grpc())
    runtime = _runtime(max_header_kb) | (local_runtime() if to_registrar else {})
    return {
        "node": {
            "id": node_id,
            "cluster": node_cluster,
            "metadata": {METADATA_KEY: {"admin": str(admin)}},
        },
        "admin": {
            "address": _admin_address(admin),
            # The query is part of what is matched.
            "allow_paths": [{"safe_regex": {"regex": rf"/({ADMIN_PAGES})(\?.*)?"}}],
        },
        # Not one object twice: YAML would write an anchor.
        "dynamic_resources": {"cds_config": _source(refresh_delay), "lds_config": _source(refresh_delay)},
        "static_resources": {"clusters": clusters, **({"listeners": listeners} if listeners else {})},
        "layered_runtime": {"layers": [{"name": "limits", "static_layer": runtime}]},
        **_stats(),
        **stats_sinks(sinks, node_id),
        "overload_manager": _overload(heap_mb),
    }


def _runtime(max_header_kb: int) -> Json:
    """Per-listener fields of the same meaning would cost their bytes a thousand times."""
    features = "envoy.reloadable_features."
    limits: Json = {}
    for side in ("request", "response"):
        limits[f"{features}max_{side}_headers_size_kb"] = max_header_kb
        limits[f"{features}max_{side}_headers_count"] = 10000
    return {**limits, f"{features}http_reject_path_with_fragment": False}


def _source(refresh_delay: str) -> Json:
    return {
        "resource_api_version": "V3",
        # Wait for the first answer for as long as it takes: without it there is nothing to serve.
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [REGISTRAR_CLUSTER],
            "refresh_delay": refresh_delay,
            "request_timeout": REQUEST_TIMEOUT,
        },
    }


def _registrar_cluster(registrar: Endpoint) -> Json:
    retry_policy = {
        # No registrar there, or it ended while it held the poll.
        "retry_on": "connect-failure,reset",
        "num_retries": RETRIES,
        "per_try_timeout": POLL_TIMEOUT,
        "retry_back_off": {"base_interval": RETRY_FIRST, "max_interval": RETRY_LAST},
    }
    spoken = _http("http_protocol_options", retry_policy=retry_policy)
    return fixed_cluster(REGISTRAR_CLUSTER, registrar) | spoken


def _collector_cluster(collector: Collector) -> Json:
    found = fixed_cluster(COLLECTOR_CLUSTER, collector.endpoint)
    return found | (_grpc() if collector.kind == OTLP else {})


def _grpc() -> Json:
    return _http("http2_protocol_options")


def _http(protocol: str, **more: Json) -> Json:
    """What a cluster speaks."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    spoken: Json = {"explicit_http_config": {protocol: {}}, **more}
    return {
        "typed_extension_protocol_options": {options: {"@type": f"type.googleapis.com/{options}", **spoken}}
    }


def fixed_cluster(name: str, endpoint: Endpoint) -> Json:
    """A cluster of one address, which is none of a container's."""
    endpoints: list[Any] = [{"lb_endpoints": [{"endpoint": {"address": _address(endpoint)}}]}]
    return {
        "name": name,
        "type": "STATIC" if endpoint.path or _is_ip(endpoint.host) else "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _admin_address(admin: Endpoint) -> Json:
    """Envoy makes the socket itself: for its own group, in which the registrar is."""
    return {"pipe": {"path": admin.path, "mode": 0o660}} if admin.path else _address(admin)


def _address(endpoint: Endpoint) -> Json:
    return (
        {"pipe": {"path": endpoint.path}} if endpoint.path else socket_address(endpoint.host, endpoint.port)
    )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _stats() -> Json:
    patterns: list[Json] = [{"prefix": prefix} for prefix in STAT_PREFIXES]
    patterns += [{"safe_regex": {"regex": pattern}} for pattern in STAT_PATTERNS]
    return {
        # A service's statistics are made when its first request comes: 50 -> 30 kB a cluster.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": patterns}},
            "histogram_bucket_settings": [
                {"match": {"safe_regex": {"regex": ".*"}}, "buckets": list(LATENCY_BUCKETS)}
            ],
        },
    }


def _overload(heap_mb: int) -> Json:
    """What Envoy does before it is out of memory: first give memory back, then refuse new requests.

    Heads that come in on connections that are there already are stopped by the shed point only.  The limit on
    connections is one no host reaches: without any, Envoy warns at each start that there is none.
    """
    package = "type.googleapis.com/envoy.extensions.resource_monitors."
    connections = {
        "@type": package + "downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 1000000,
    }
    heap = {
        "@type": package + "fixed_heap.v3.FixedHeapConfig",
        "max_heap_size_bytes": heap_mb << 20,
    }
    monitors = {"global_downstream_max_connections": connections, "fixed_heap": heap}
    actions = {
        "shrink_heap": 0.9,
        "disable_http_keepalive": 0.9,
        "stop_accepting_requests": 0.95,
        "stop_accepting_connections": 0.98,
    }
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": f"envoy.resource_monitors.{name}", "typed_config": config}
            for name, config in monitors.items()
        ],
        "actions": [
            {"name": f"envoy.overload_actions.{name}", "triggers": [_above(value)]}
            for name, value in actions.items()
        ],
        "loadshed_points": [
            {"name": "envoy.load_shed_points.http1_server_abort_dispatch", "triggers": [_above(0.95)]}
        ],
    }


def _above(share: float) -> Json:
    return {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}
