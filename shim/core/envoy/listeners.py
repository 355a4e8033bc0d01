"""Listeners: what Envoy has for one published TCP port.

The rules of filters.py hold here too: a new dict each time, texts verbatim, and no field without need.
"""

from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.json import EXTENSIONS, Json, keepalive, socket_address
from shim.core.envoy.modes import Mode
from shim.core.envoy.sniffing import counts_who_speaks_first, http_match, inspector
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
    origin: str = "",
) -> Json:
    """The listener of one published TCP port, served in this mode.

    ``name`` is any text but the empty one; ``stat_prefix`` and ``cluster`` are ``[A-Za-z0-9_-]`` only, since
    a dot breaks Prometheus labels.  ``service`` is from ``tracing.service_for``.
    ``freebind``: bind although the address is not on the host (yet); for specific addresses only.
    ``origin``: names the counters of a mode that tells connections apart; characters as of ``stat_prefix``.
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
    if mode.otherwise is not None:
        (chain,) = made["filter_chains"]
        others = [counts_who_speaks_first(origin), mode.otherwise(stat_prefix, cluster, service, options)]
        made |= inspector()
        made["filter_chains"] = [{"filter_chain_match": http_match(), **chain}, {"filters": others}]
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
