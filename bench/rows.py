"""One line of the result: what was measured, ours and docker-proxy's, against which target.

A part measures Rows, which have every sample; what is kept, shown and drawn of one is its Result.

Row("tcp-start", "spawn to ready", "ms", ours=[12.1, 11.9], peer=[5.6, 5.7], target=at_most(3.5))
Row("registrar", "message in to discovery bytes out", "ms", ours=[1.1, 1.3], target=limit(2.0),
    at=10, axis="bindings")
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

DIGITS = 6  # that are kept of a figure: more than any of them is worth


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
    """Medians, as one slow moment of the machine must not decide; low and high are p10 and p90 from 10
    samples on, else the lowest and the highest."""

    n: int
    median: float
    low: float
    high: float


def summary(samples: Sequence[float]) -> Summary:
    ordered = sorted(samples)
    last = len(ordered) - 1
    low = round(last * 0.1) if len(ordered) >= 10 else 0
    high = round(last * 0.9) if len(ordered) >= 10 else last
    return Summary(len(ordered), *map(rounded, (statistics.median(ordered), ordered[low], ordered[high])))


def rounded(value: float) -> float:
    """To DIGITS digits; a whole number is an int, which is written without a point."""
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


@dataclass(frozen=True)
class Result:
    """What is kept of a Row: a line of results.json."""

    what: str
    unit: str
    ours: Summary
    peer: Summary | None
    target: Target | None
    note: str
    at: int | None
    axis: str

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
        ours, theirs = self.ours.median, self.peer.median
        return None if ours < 0 or theirs <= 0 else ours / theirs

    @property
    def met(self) -> bool | None:
        """None: no target, or nothing to compare with."""
        if self.target is None:
            return None
        value = self.ratio if self.target.times else self.ours.median
        return None if value is None else self.target.met(value)

    def as_json(self) -> dict[str, Any]:
        """Without what is empty."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Result":
        """Raises TypeError, KeyError: not what as_json wrote."""
        blank = {"unit": "", "peer": None, "target": None, "note": "", "at": None, "axis": ""}
        made = {**blank, **found, "ours": Summary(**found["ours"])}
        if "peer" in found:
            made["peer"] = Summary(**found["peer"])
        if "target" in found:
            made["target"] = Target(**found["target"])
        return cls(**made)


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
            raise ValueError(f"{self.part}: {self.what}, {self.at}: no samples")

    def result(self) -> Result:
        peer = None if self.peer is None else summary(self.peer)
        return Result(
            self.what, self.unit, summary(self.ours), peer, self.target, self.note, self.at, self.axis
        )
