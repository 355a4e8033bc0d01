"""Pieces of Envoy's v3 JSON that listeners, clusters and the bootstrap share."""

from typing import Any

Json = dict[str, Any]

EXTENSIONS = "type.googleapis.com/envoy.extensions."


def socket_address(ip: str, port: int) -> Json:
    """``envoy.config.core.v3.Address``."""
    return {"socket_address": {"address": ip, "port_value": port}}


def keepalive() -> Json:
    """Idle timeouts are off, so this is what finds a peer that has silently gone: 60 + 3 * 15 seconds."""
    return {"keepalive_probes": 3, "keepalive_time": 60, "keepalive_interval": 15}


def preserve_case(**settings: Any) -> Json:
    """Header names as the sender wrote them.  A message carries the setting of the side it came in by:
    the listener's is for requests, the cluster's for answers."""
    config = {
        "@type": EXTENSIONS + "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
        **settings,
    }
    return {"stateful_formatter": {"name": "preserve_case", "typed_config": config}}
