"""Listeners: what Envoy has for one published TCP port.

The rules of filters.py hold here too: a new dict each time, texts verbatim, and no field without need.
"""

from shim.core.envoy.access_log import PROTOCOLS, tls_inspector
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.json import EXTENSIONS, Json, keepalive, socket_address
from shim.core.envoy.modes import Mode
from shim.core.envoy.sniffing import counts_who_speaks_first, http_match, inspector
from shim.core.service import Service

LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"
# The published address is known for a connection's own, and the client's is the container's peer.
ORIGINAL = (("original_dst", "OriginalDst"), ("original_src", "OriginalSrc"))

# Where connections are looked into for TLS as well as for HTTP: those without, and those with it.
RAW, IN_TLS = {"transport_protocol": "raw_buffer"}, {"transport_protocol": "tls"}


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
        "filter_chains": _chains(mode, stat_prefix, cluster, service, options, origin),
    }
    if freebind:
        made["freebind"] = True
    if mode.otherwise is not None:
        made |= inspector()
    if options.log is not None and options.log.tls:
        own = made.pop("listener_filters", [])
        made |= tls_inspector()
        made["listener_filters"] += own  # what is TLS is no HTTP to them
    return made


def _chains(
    mode: Mode, stat_prefix: str, cluster: str, service: Service, options: HttpOptions, origin: str
) -> list[Json]:
    """The filter chains: one, or more where connections are told apart."""
    place = stat_prefix, cluster, service

    def passes(told: HttpOptions) -> Json:
        if mode.otherwise is None:
            return {"filters": [mode.network_filter(*place, told)]}
        return {"filters": [counts_who_speaks_first(origin), mode.otherwise(*place, told)]}

    chains = [passes(options)]
    if mode.otherwise is not None:
        http = {"filter_chain_match": http_match(), "filters": [mode.network_filter(*place, options)]}
        chains.insert(0, http)
    if options.log is None or not options.log.tls:
        return chains
    if mode.otherwise is not None:
        # TLS has chains of its own: what clients offer to speak inside of it is no HTTP to us.
        for chain in chains:
            chain["filter_chain_match"] = {**RAW, **chain.get("filter_chain_match", {})}
        chains.append({"filter_chain_match": dict(IN_TLS), **passes(options)})
    for protocol in PROTOCOLS:
        told = options._replace(log=options.log._replace(protocol=protocol))
        match = {**(IN_TLS if mode.otherwise else {}), "application_protocols": [protocol]}
        chains.append({"filter_chain_match": match, **passes(told)})
    return chains


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
