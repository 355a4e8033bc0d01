"""Clusters: the way from Envoy to one container port, and what is spoken on it.

The rules for what callers pass and for leanness are those of listeners.py.
"""

from enum import Enum

from shim.core.envoy.json import EXTENSIONS, Json, keepalive, preserve_case, socket_address

CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

_NO_LIMIT = 4294967295


class Upstream(Enum):
    """What a cluster speaks to its container."""

    HTTP = "http"  # HTTP/1.1 or h2c, whichever the client spoke
    TCP = "tcp"  # bytes


def cluster(name: str, backend_ip: str, backend_port: int, upstream: Upstream) -> Json:
    """One container port.  STATIC with its endpoint inline, so that Envoy needs no EDS poll for it."""
    # The default of 1024 connections answers the next with 503.  Each threshold is a hard limit on
    # something a docker-proxy never limits; tcp knows no requests.
    limits = {"max_connections": _NO_LIMIT, "max_pending_requests": _NO_LIMIT}
    if upstream is Upstream.HTTP:
        limits["max_requests"] = _NO_LIMIT
    resource = {
        "@type": CLUSTER_TYPE,
        "name": name,
        "type": "STATIC",
        "connect_timeout": "30s",
        "upstream_connection_options": {"tcp_keepalive": keepalive()},
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": _assignment(name, backend_ip, backend_port),
    }
    if upstream is Upstream.HTTP:
        resource["typed_extension_protocol_options"] = _http_upstream()
    return resource


def cluster_load_assignment(name: str, ip: str, port: int) -> Json:
    """The endpoint of cluster ``name``, as POST /v3/discovery:endpoints serves it."""
    return {"@type": ENDPOINTS_TYPE, **_assignment(name, ip, port)}


def _assignment(name: str, ip: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": socket_address(ip, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _http_upstream() -> Json:
    """HTTP/1.1 or h2c to the backend, whichever the client spoke: gRPC works, and nothing is translated."""
    options = EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
    http1 = {
        "enable_trailers": True,
        # Some old servers send both lengths; Envoy drops the wrong one.  For requests it stays an error.
        "allow_chunked_length": True,
        "header_key_format": preserve_case(
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
