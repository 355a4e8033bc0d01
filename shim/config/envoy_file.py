"""Envoy's configuration file, as this configuration wants it."""

from shim.config.keys import Config
from shim.core.envoy.bootstrap import bootstrap
from shim.core.envoy.json import Json


def envoy_file(config: Config, node_id: str, node_cluster: str) -> Json:
    """The whole document."""
    return bootstrap(
        node_id,
        node_cluster,
        config.api_address,
        config.envoy_admin,
        config.tracing,
        scrape=config.scrape_address,
        max_header_kb=config.max_header_kb,
        heap_mb=config.envoy_heap_mb,
        sinks=config.metrics,
    )
