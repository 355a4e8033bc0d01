"""Reads metrics as text, strictly: what Prometheus' format 0.0.4 and OpenMetrics 1.0 ask for is asserted.

Beside their grammar: each family once, with HELP and TYPE before its samples and all of them together, no
sample twice, counters that are named as counters, histograms that are whole and ascend.
"""

import re
from typing import NamedTuple

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([0-9.e+-]+|\+Inf|-Inf|NaN)")
PART = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
KINDS = {"gauge", "counter", "histogram", "info"}
ESCAPES = {r"\\": "\\", r"\n": "\n", r"\"": '"'}

Labels = frozenset[tuple[str, str]]


class Exposition(NamedTuple):
    """``kinds``: family to kind; ``samples``: (name, labels) to value."""

    kinds: dict[str, str]
    samples: dict[tuple[str, Labels], float]

    def value(self, name: str, **labels: str) -> float:
        """The value of this very sample."""
        return self.samples[name, frozenset(labels.items())]

    def of(self, name: str) -> list[dict[str, str]]:
        """The labels of each sample of that name."""
        return [dict(labels) for found, labels in self.samples if found == name]


def read(text: str, openmetrics: bool = False) -> Exposition:
    """The metrics in ``text``.  AssertionError where it is not as the format says."""
    assert text.endswith("\n") and "\n\n" not in text
    lines = text.removesuffix("\n").split("\n")
    if openmetrics:
        assert lines.pop() == "# EOF"
    found = Exposition({}, {})
    family = helped = ""
    for line in lines:
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            assert len(line.split(" ", 3)) == 4 and helped not in found.kinds, line
        elif line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family == helped and kind in KINDS - (set() if openmetrics else {"info"}), line
            assert (kind == "counter") <= (family.endswith("_total") is not openmetrics), line
            found.kinds[family] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name, labels = match[1], _labels(match[2] or "")
            assert name.removeprefix(family) in _suffixes(found.kinds[family], openmetrics), line
            assert (name, labels) not in found.samples, line
            found.samples[name, labels] = float(match[3])
    for family, kind in found.kinds.items():
        if kind == "histogram":
            _check_histogram(family, found)
    return found


def _suffixes(kind: str, openmetrics: bool) -> set[str]:
    if kind == "histogram":
        return {"_bucket", "_sum", "_count"}
    return {"counter": {"_total"}, "info": {"_info"}}.get(kind, {""}) if openmetrics else {""}


def _labels(text: str) -> Labels:
    pairs = [
        (name, re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], value)) for name, value in PART.findall(text)
    ]
    assert len(dict(pairs)) == len(pairs), text
    return frozenset(pairs)


def _check_histogram(family: str, found: Exposition) -> None:
    buckets: dict[Labels, dict[float, float]] = {}
    for (name, labels), value in found.samples.items():
        if name == f"{family}_bucket":
            (bound,) = [float(text) for label, text in labels if label == "le"]
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(rest, {})[bound] = value
    for labels, counts in buckets.items():
        ascending = [counts[bound] for bound in sorted(counts)]
        assert ascending == sorted(ascending)
        assert counts[float("inf")] == found.samples[f"{family}_count", labels]
        assert (f"{family}_sum", labels) in found.samples
