"""The files in the shipped one that have a place on a host: units, rotation, the commented configuration.

They are contrib and examples of the checkout; build.sh puts copies beside this module.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from shim.core.setup import places

CHECKOUT = Path(__file__).parents[2]


def shipped(*, strict: bool) -> dict[str, bytes]:
    """Their contents, by the place on a host; ``strict``: that way's too.  Raises FileNotFoundError."""
    inside = files("shim.setup") / "shipped"
    built = inside.is_dir()
    contrib = inside if built else CHECKOUT / "contrib"
    config = (inside if built else CHECKOUT / "examples") / "envoy-docker-shim.yaml"
    found = {
        **_below(contrib / "systemd", places.UNITS),
        places.LOGROTATE: (contrib / "logrotate" / "envoy").read_bytes(),
        places.CONFIG: config.read_bytes(),
    }
    return {**found, **_below(contrib / "strict", places.UNITS)} if strict else found


def _below(folder: Any, place: str) -> dict[str, bytes]:
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found.update(_below(entry, f"{place}/{entry.name}"))
        else:
            found[f"{place}/{entry.name}"] = entry.read_bytes()
    return found
