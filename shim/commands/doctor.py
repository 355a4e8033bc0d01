"""``envoy-docker-shim doctor``: what is wrong on this host, and what cures it."""

import json
import os
import sys
from argparse import ArgumentParser
from pathlib import Path

import trio

from shim.commands.common import parser
from shim.config.keys import ConfigError
from shim.config.load import load, load_what_can_be
from shim.core.doctor.report import as_json, as_text, examine, healthy
from shim.doctor.gather import gather

CACHE = "/var/cache/envoy-docker-shim"


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "doctor",
        "Say what is wrong on this host, and what cures it.  It changes nothing.",
        "doctor",
        "doctor --json",
    )
    made.add_argument("--json", action="store_true", help="for programs")
    return made


def main(args: list[str]) -> int:
    """Examine.  0 when every check was made and found nothing, else 1; 2 for bad usage."""
    options = arguments().parse_args(args)
    # A configuration that cannot be used is a finding: the rest is looked at with what can be used.
    error = ""
    try:
        config = load(options.config, os.environ)
    except ConfigError as problem:
        config, error = load_what_can_be(options.config, os.environ), str(problem)
    facts = trio.run(gather, config, error, options.config, _own_file(), _cache())
    results = examine(facts)
    print(json.dumps(as_json(results), indent=1) if options.json else as_text(results))
    return 0 if healthy(results) else 1


def _own_file() -> Path:
    return Path(sys.argv[0]).resolve()


def _cache() -> str:
    """Where this file unpacks (shim/artifact/zip_main.py)."""
    given = os.environ.get("SHIV_ROOT") or os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    return given or CACHE
