"""The files that are in the shipped one and have a place on a host: units, and the commented configuration.

They are contrib/systemd and examples of the checkout; build.sh puts copies beside this module.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from shim.core.setup import places

CHECKOUT = Path(__file__).parents[2]


def shipped() -> dict[str, bytes]:
    """Their contents, by the place on a host.  Raises FileNotFoundError where there are none."""
    inside = files("shim.setup") / "shipped"
    built = inside.is_dir()
    units = inside / "systemd" if built else CHECKOUT / "contrib" / "systemd"
    config = (inside if built else CHECKOUT / "examples") / "envoy-docker-shim.yaml"
    return {**_below(units, places.UNITS), places.CONFIG: config.read_bytes()}


def _below(folder: Any, place: str) -> dict[str, bytes]:
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found.update(_below(entry, f"{place}/{entry.name}"))
        else:
            found[f"{place}/{entry.name}"] = entry.read_bytes()
    return found
