"""``envoy-docker-shim bootstrap``: the Envoy configuration that goes with this registrar's."""

import os
import socket
from argparse import ArgumentParser
from pathlib import Path

import yaml

from shim.commands.common import complain, configuration, parser
from shim.config.envoy_file import envoy_file
from shim.config.keys import Config
from shim.core.envoy.bootstrap import DRAIN_TIME

HEADER = f"""\
# Envoy's configuration for envoy-docker-shim, as `envoy-docker-shim bootstrap` prints it.
# Run it with:  envoy -c FILE --drain-time-s {DRAIN_TIME}
# (a listener that goes away then leaves its open connections {DRAIN_TIME} seconds to end by themselves)
"""


def text(config: Config, node_id: str, node_cluster: str) -> str:
    """The bootstrap for this configuration, as YAML with a comment in front."""
    document = envoy_file(config, node_id, node_cluster)
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=110)


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "bootstrap",
        "Print the Envoy bootstrap (YAML) for this configuration.",
        "bootstrap >/etc/envoy-docker-shim/envoy.yaml",
        "bootstrap --node-id edge-2",
    )
    made.add_argument("--node-id", metavar="ID", help="default: this host's name")
    made.add_argument("--node-cluster", metavar="NAME", default="docker", help="default: docker")
    made.add_argument("--output", metavar="FILE", help="write it there, by rename; default: print it")
    return made


def main(args: list[str]) -> int:
    """Print or write the bootstrap.  0, 1 where it cannot be written, 2 for bad usage."""
    options = arguments().parse_args(args)
    config = configuration(options.config)
    made = text(config, options.node_id or socket.gethostname(), options.node_cluster)
    if options.output is None:
        print(made, end="")
        return 0
    new = f"{options.output}.new"
    try:
        Path(new).write_text(made)
        os.replace(new, options.output)
    except OSError as error:
        complain(f"--output {options.output}: {error.strerror}")
        return 1
    return 0
