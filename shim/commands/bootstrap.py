"""``envoy-docker-shim bootstrap``: the Envoy configuration that goes with this registrar's."""

import socket
from typing import Any

import yaml

from shim.commands.common import configuration, parser
from shim.core import bootstrap as core
from shim.registrar.config import Config

HEADER = """\
# Envoy's configuration for envoy-docker-shim, as `envoy-docker-shim bootstrap` prints it.
# Run it with:  envoy -c FILE --drain-time-s 3600
# (a listener that goes away then leaves its open connections a day to end by themselves)
"""


def document(config: Config, node_id: str, node_cluster: str) -> dict[str, Any]:
    """The bootstrap for this configuration, as a document ready to be dumped."""
    api = config.api_address
    collector = None
    if config.tracing is not None:
        endpoint = config.tracing.endpoint
        collector = core.Collector(endpoint.host, endpoint.port, http2=config.tracing.kind == "otlp")
    return core.bootstrap(
        node_id,
        node_cluster,
        api.path or (api.host, api.port),
        (config.envoy_admin.host, config.envoy_admin.port),
        collector,
        max_header_kb=config.max_header_kb,
        heap_mb=config.envoy_heap_mb,
    )


def text(config: Config, node_id: str, node_cluster: str) -> str:
    return HEADER + yaml.safe_dump(document(config, node_id, node_cluster), sort_keys=False, width=110)


def main(args: list[str]) -> int:
    """Print the bootstrap.  0, or 2 for bad usage."""
    arguments = parser("bootstrap", "Print the Envoy bootstrap (YAML) for this configuration.")
    arguments.add_argument("--node-id", metavar="ID", help="default: this host's name")
    arguments.add_argument("--node-cluster", metavar="NAME", default="docker", help="default: docker")
    options = arguments.parse_args(args)
    config = configuration(options.config)
    print(text(config, options.node_id or socket.gethostname(), options.node_cluster), end="")
    return 0
