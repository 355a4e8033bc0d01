"""Metrics as values: a family has a name, a kind, a meaning and samples.

What may be in a name, and what a kind's samples are, is Prometheus' text format 0.0.4 and OpenMetrics 1.0.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]

GAUGE, COUNTER, HISTOGRAM, INFO = "gauge", "counter", "histogram", "info"


class Sample(NamedTuple):
    """One number.  ``suffix`` is appended to the family's name."""

    value: float
    labels: Labels = ()
    suffix: str = ""


class Family(NamedTuple):
    """``name`` without the suffix of its kind: ``_total`` of a counter, ``_info`` of an info."""

    name: str
    kind: str
    meaning: str
    samples: Iterable[Sample]


def gauge(name: str, meaning: str, *values: tuple[float, Labels]) -> Family:
    """Numbers that go up and down."""
    return Family(name, GAUGE, meaning, [Sample(*value) for value in values])


def counter(name: str, meaning: str, *values: tuple[float, Labels]) -> Family:
    """Numbers that grow, and begin at 0 with the process."""
    return Family(name, COUNTER, meaning, [Sample(*value, "_total") for value in values])


class Histogram:
    """How many observations were at most as large as each of ``bounds``, which ascend."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count it in."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """Its samples, cumulative."""
        total = 0
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            total += count
            upper = "+Inf" if bound == math.inf else repr(float(bound))
            yield Sample(total, (*labels, ("le", upper)), "_bucket")
        yield Sample(self._sum, labels, "_sum")
        yield Sample(total, labels, "_count")
