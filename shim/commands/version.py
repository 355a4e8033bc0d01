"""``envoy-docker-shim version``: which version this is, and of what it was made."""

import json
import pkgutil
import platform
import sys
from argparse import ArgumentParser

from shim import __version__
from shim.config.usage import command_parser
from shim.host.bundled_envoy import bundle_of

COMMIT = "commit"  # in the package, written by ./build.sh; empty where it knew none


def arguments() -> ArgumentParser:
    """Its parser."""
    made = command_parser("version", "Print the version.", "version", "version --json")
    made.add_argument(
        "--json", action="store_true", help="also the commit, Python, and the Envoy that came with the file"
    )
    return made


def main(args: list[str]) -> int:
    """Print it.  0, or 2 for bad usage."""
    if not arguments().parse_args(args).json:
        print(f"envoy-docker-shim {__version__}")
        return 0
    bundle = bundle_of(sys.argv[0])
    print(
        json.dumps(
            {
                "version": __version__,
                "commit": _commit(),
                "python": platform.python_version(),
                "executable": sys.executable,
                "envoy": bundle.version if bundle else None,
            },
            indent=1,
        )
    )
    return 0


def _commit() -> str | None:
    try:
        found = pkgutil.get_data("shim", COMMIT)
    except OSError:
        return None  # not built: run from a checkout
    return found.decode().strip() or None if found else None
