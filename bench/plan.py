"""What one run is to do, and what it uses of the machine."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.harness.engines import ROOT

ARTIFACT = ROOT / "dist" / "envoy-docker-shim"
# As a service manager gives it to dockerd, and so to the shims: no version manager's Python in front.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Plan:
    quick: bool = False
    engines: tuple[str, ...] = ("28", "20.10")
    artifact: Path = ARTIFACT

    def times(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def seconds(self, usual: float, quick: float) -> float:
        return quick if self.quick else usual


@dataclass(frozen=True)
class Cores:
    """Load and proxy on a core each, so that neither takes the other's time; with one core they share."""

    load: int
    proxy: int

    @property
    def apart(self) -> bool:
        return self.load != self.proxy


def cores() -> Cores:
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])
