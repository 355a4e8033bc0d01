"""``envoy-docker-shim install``: this file, an Envoy and the units onto this host, and dockerd told of it.

Run again it is the upgrade.  It says what it will do before it does it, and takes it back where ports do
not serve.
"""

import os
import socket
import sys
import zipfile
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

import yaml

from shim import __version__
from shim.commands import bootstrap, status
from shim.commands.common import CommandError, complain, configuration, parser
from shim.commands.setup import agreed, cannot_run, doing, done, show
from shim.commands.up import find_envoy
from shim.config.keys import Config
from shim.core.setup import places
from shim.core.setup.facts import Envoy, Facts
from shim.core.setup.plan import Plan, Wish, install
from shim.core.setup.record import Record
from shim.core.setup.settings import Refused
from shim.host.bundled_envoy import bundle_of
from shim.setup.look import content_of, look, look_at_envoy, read_record
from shim.setup.shipped import shipped
from shim.setup.tools import SetupError

ENVOY_FILE = "/run/envoy/envoy.yaml"  # where its unit has it written


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "install",
        "Install this file, Envoy and their units, and tell Docker. Run again: upgrade.",
        "install --dry-run",
        "install --yes --restart-docker",
        config=False,
    )
    made.add_argument("--yes", action="store_true", help="do it without a question")
    made.add_argument("--dry-run", action="store_true", help="only show what would be done")
    made.add_argument(
        "--envoy", metavar="PATH", help="default: envoy in $PATH, the one in this file, or Python's package"
    )
    made.add_argument(
        "--restart-docker",
        action="store_true",
        help="restart Docker too; containers live on (not with Swarm)",
    )
    made.add_argument("--strict", action="store_true", help="switch Docker's own firewall rules off")
    return made


def main(args: list[str]) -> int:
    """Install.  0 when all serves, 1 when it was taken back, or something is left to do, 2 for bad usage."""
    options = arguments().parse_args(args)
    if cannot_run("install"):
        return 1
    config = configuration(None)
    try:
        plan = _planned(options, config)
    except (SetupError, CommandError, Refused, OSError) as error:
        complain(f"install: {error}")
        return 1
    if plan.steps:
        show(plan, f"envoy-docker-shim {__version__} is going to:")
        if options.dry_run:
            return 0
        answer = agreed(options.yes, "install")
        if not answer:
            return 2 if answer is None else 1
        if not done(doing(plan, config).install, plan, "install"):
            return 1
    else:
        show(plan, f"envoy-docker-shim {__version__} is installed: there is nothing to change")
        if options.dry_run:
            return 0
    print()
    code = status.main([])
    if plan.left:
        print(f"\nDocker runs with its old settings. Left to do, and no container stops: {plan.left}")
        return 1
    return code


def _planned(options: Namespace, config: Config) -> Plan:
    file = os.path.realpath(sys.argv[0])
    if not zipfile.is_zipfile(file):
        raise SetupError(f"{file} is not the built file: run dist/envoy-docker-shim")
    record = read_record()
    # It stays until it is uninstalled: an upgrade does not bring Docker's rules back.
    strict = options.strict or (record is not None and record.strict)
    files = shipped(strict=strict)
    facts = look(file, _envoy(options, file, record), files, record)
    facts = replace(facts, stale_envoy=_stale(config, facts))
    wish = Wish(options.restart_docker, strict, options.envoy is not None)
    return install(facts, wish, files, record)


def _envoy(options: Namespace, file: str, record: Record | None) -> Envoy:
    """As given, now or when it was installed; else one that is found; else the one that is installed."""
    given = options.envoy
    if given is None and options.dry_run and (bundle := bundle_of(file)):
        # Unpacked when it is done, not when it is shown.
        return Envoy(f"{places.STATE}/{bundle.name}", f"{places.STATE}/{bundle.name}", bundle.version)
    installed = record.envoy if record is not None and Path(record.envoy).is_file() else ""
    if given is None and installed and record is not None and record.envoy_given:
        return _in_place(installed)
    try:
        return look_at_envoy(find_envoy(given))
    except CommandError:
        if given is None and installed:
            return _in_place(installed)
        raise


def _in_place(installed: str) -> Envoy:
    return replace(look_at_envoy(installed), source=installed, path=installed)


def _stale(config: Config, facts: Facts) -> bool:
    """Whether the Envoy that runs was started from another configuration than would be written now."""
    running = content_of(ENVOY_FILE)
    if running is None or not facts.active:
        return False
    wanted = yaml.safe_load(bootstrap.text(config, socket.gethostname(), "docker"))
    try:
        found = yaml.safe_load(running)
        return bool({**found, "node": None} != {**wanted, "node": None})
    except (yaml.YAMLError, TypeError):
        return True
