"""Listeners: what Envoy has for one published TCP port.

The rules of filters.py hold here too: a new dict each time, texts verbatim, and no field without need.
"""

from shim.core.envoy.access_log import PROTOCOLS, tls_inspector
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.json import EXTENSIONS, Json, keepalive, socket_address
from shim.core.envoy.modes import Mode
from shim.core.service import Service

LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"
# The published address is known for a connection's own, and the client's is the container's peer.
ORIGINAL = (("original_dst", "OriginalDst"), ("original_src", "OriginalSrc"))


def listener(
    mode: Mode,
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
    """The listener of one published TCP port, served in this mode.

    ``name`` is any text but the empty one; ``stat_prefix`` and ``cluster`` are ``[A-Za-z0-9_-]`` only, since
    a dot breaks Prometheus labels.  ``service`` is from ``tracing.service_for``.
    ``freebind``: bind although the address is not on the host (yet); for specific addresses only.
    """
    made: Json = {
        "@type": LISTENER_TYPE,
        "name": name,
        "address": socket_address(ip, port),
        "stat_prefix": stat_prefix,  # else a metric is named after the address
        "tcp_keepalive": keepalive(),
        "filter_chains": [{"filters": [mode.network_filter(stat_prefix, cluster, service, options)]}],
    }
    if freebind:
        made["freebind"] = True
    if options.log is not None and options.log.tls:
        made |= tls_inspector()
        for protocol in PROTOCOLS:
            told = options._replace(log=options.log._replace(protocol=protocol))
            made["filter_chains"].append(
                {
                    "filter_chain_match": {"application_protocols": [protocol]},
                    "filters": [mode.network_filter(stat_prefix, cluster, service, told)],
                }
            )
    return made


def second_listener(first: Json, published_port: int) -> Json:
    """The listener that calls the container from the client's own address, like ``first`` otherwise.

    The firewall hands it connections that bear the published address.  Any other is somebody's on this host
    who found its port, and is closed.
    """
    originals = [
        {"name": kind, "typed_config": {"@type": f"{EXTENSIONS}filters.listener.{kind}.v3.{message}"}}
        for kind, message in ORIGINAL
    ]
    return {
        **first,
        "transparent": True,
        "listener_filters": originals + first.get("listener_filters", []),
        "filter_chains": [_only_from(published_port, chain) for chain in first["filter_chains"]],
    }


def _only_from(published_port: int, chain: Json) -> Json:
    match = {"destination_port": published_port, **chain.get("filter_chain_match", {})}
    return {**chain, "filter_chain_match": match}
