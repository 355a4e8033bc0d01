"""One line of the result: what was measured, ours and docker-proxy's, against which target.

Row("tcp-start", "spawn to ready", "ms", ours=[12.1, 11.9], peer=[5.6, 5.7], target=at_most(3.5))
Row("registrar", "message in to discovery bytes out", "ms", ours=[1.1, 1.3], target=limit(2.0),
    at=10, axis="bindings")
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound on ours / docker-proxy's (``times``), or on our own figure."""

    bound: float
    least: bool = False
    times: bool = True

    def text(self, unit: str) -> str:
        sign = "≥" if self.least else "≤"
        return f"{sign} {self.bound:g} ×" if self.times else f"{sign} {self.bound:g} {unit}".rstrip()

    def met(self, value: float) -> bool:
        return value >= self.bound if self.least else value <= self.bound


def at_most(ratio: float) -> Target:
    return Target(ratio)


def at_least(ratio: float) -> Target:
    return Target(ratio, least=True)


def limit(value: float) -> Target:
    """Our own figure must not be above this, in the row's unit."""
    return Target(value, times=False)


@dataclass(frozen=True)
class Summary:
    """Medians, as one slow moment of the machine must not decide; the spread is p10 to p90 from 10 samples
    on, else lowest to highest."""

    count: int
    median: float
    low: float
    high: float
    spread: str  # what low and high are


def summary(samples: Sequence[float]) -> Summary:
    ordered = sorted(samples)
    last = len(ordered) - 1
    if len(ordered) < 10:
        return Summary(len(ordered), statistics.median(ordered), ordered[0], ordered[last], "min..max")
    low, high = ordered[round(last * 0.1)], ordered[round(last * 0.9)]
    return Summary(len(ordered), statistics.median(ordered), low, high, "p10..p90")


@dataclass(frozen=True)
class Row:
    part: str
    what: str  # the same for all rows of one curve
    unit: str  # "ms", "kB", "/s", ...
    ours: Sequence[float]  # never empty
    peer: Sequence[float] | None = None  # docker-proxy's; None: it has nothing of the kind
    target: Target | None = None  # None: reported only
    note: str = ""  # a sentence for RESULTS.md
    at: int | None = None  # where on a curve this is: 100, with the axis "ports"
    axis: str = ""

    def __post_init__(self) -> None:
        if not self.ours or (self.peer is not None and not self.peer):
            raise ValueError(f"{self.part}: {self.title}: no samples")

    @property
    def title(self) -> str:
        if self.at is None:
            return self.what
        return (
            f"{self.what}, {self.at:,} {self.axis.removesuffix('s') if self.at == 1 else self.axis}".rstrip()
        )

    @property
    def ratio(self) -> float | None:
        """Ours in docker-proxy's; None without one, or where either is below 0 (or its 0): that was noise."""
        if self.peer is None:
            return None
        ours, theirs = statistics.median(self.ours), statistics.median(self.peer)
        return None if ours < 0 or theirs <= 0 else ours / theirs

    @property
    def met(self) -> bool | None:
        """None: no target, or nothing to compare with."""
        if self.target is None:
            return None
        value = self.ratio if self.target.times else statistics.median(self.ours)
        return None if value is None else self.target.met(value)

    def as_json(self) -> dict[str, Any]:
        return {
            **{key: getattr(self, key) for key in ("part", "what", "at", "axis", "unit", "note")},
            "ours": asdict(summary(self.ours)) | {"samples": list(self.ours)},
            "docker_proxy": self.peer and asdict(summary(self.peer)) | {"samples": list(self.peer)},
            "ratio": self.ratio,
            "target": self.target and self.target.text(self.unit),
            "met": self.met,
        }
