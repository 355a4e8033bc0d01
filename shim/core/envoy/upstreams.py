"""Clusters: the way from Envoy to one container port, and what is spoken on it.

The rules for what callers pass and for leanness are those of filters.py and listeners.py.
"""

from collections.abc import Callable
from typing import NamedTuple

from shim.core.envoy.json import EXTENSIONS, Json, keepalive, preserve_case, socket_address

CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

_NO_LIMIT = 4294967295


def http_options() -> Json:
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


class Upstream(NamedTuple):
    """What clusters speak to their containers: one row."""

    limits: tuple[
        str, ...
    ]  # Envoy's circuit breakers for it: hard limits on what a docker-proxy never limits
    protocol_options: Callable[[], Json] | None  # its ``typed_extension_protocol_options``, where it has any
    proxy_protocol: int = 0  # the version of the header with which each connection begins; 0: none


HTTP_UPSTREAM = Upstream(("max_connections", "max_pending_requests", "max_requests"), http_options)
TCP_UPSTREAM = Upstream(("max_connections", "max_pending_requests"), None)


def cluster(name: str, backend_ip: str, backend_port: int, upstream: Upstream) -> Json:
    """One container port.  STATIC with its endpoint inline, so that Envoy needs no EDS poll for it."""
    # The default of 1024 connections answers the next with 503.
    limits = dict.fromkeys(upstream.limits, _NO_LIMIT)
    resource = {
        "@type": CLUSTER_TYPE,
        "name": name,
        "type": "STATIC",
        "connect_timeout": "30s",
        "upstream_connection_options": {"tcp_keepalive": keepalive()},
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": _assignment(name, backend_ip, backend_port),
    }
    if upstream.protocol_options is not None:
        resource["typed_extension_protocol_options"] = upstream.protocol_options()
    if upstream.proxy_protocol:
        resource["transport_socket"] = _with_proxy_header(upstream.proxy_protocol)
    return resource


def _with_proxy_header(version: int) -> Json:
    """Each connection begins with the client's address and the published one, as haproxy's PROXY protocol has
    them.  In http mode each client connection then has connections of its own to the container."""
    sockets = EXTENSIONS + "transport_sockets."
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {
            "@type": sockets + "proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": f"V{version}"},
            "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer",
                "typed_config": {"@type": sockets + "raw_buffer.v3.RawBuffer"},
            },
        },
    }


def cluster_load_assignment(name: str, ip: str, port: int) -> Json:
    """The endpoint of cluster ``name``, as POST /v3/discovery:endpoints serves it."""
    return {"@type": ENDPOINTS_TYPE, **_assignment(name, ip, port)}


def _assignment(name: str, ip: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": socket_address(ip, port)}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
