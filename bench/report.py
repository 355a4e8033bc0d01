"""The result as a table for a terminal, as JSON, and as RESULTS.md."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.parts import PARTS
from bench.rows import Row, summary

HEADINGS = ("what", "docker-proxy", "ours", "ratio", "target", "spread (docker-proxy; ours)")

METHOD = """\
Medians, docker-proxy's and ours measured by turns in the same run; kB are the kernel's, of 1,024 bytes.
Spread: n samples, p10..p90, or lowest..highest where there are fewer than 10. docker-proxy is that of
the engine named in the row, else of Engine 28. Envoy runs one worker thread, docker-proxy as many as it
likes; where a row is about load, the load is on one core and the proxy on the other, so both have one.
"""


@dataclass
class Report:
    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # part to what was wrong
    took: dict[str, float] = field(default_factory=dict)  # part to seconds
    stolen: dict[str, float] = field(default_factory=dict)  # part to percent of the CPU time, by a hypervisor

    def as_json(self) -> str:
        found: dict[str, Any] = {
            "date": self.date,
            "command": self.command,
            "machine": self.machine,
            "versions": self.versions,
            "took": {part: round(seconds, 1) for part, seconds in self.took.items()},
            "stolen": {part: round(percent, 1) for part, percent in self.stolen.items()},
            "failures": self.failures,
            "rows": [row.as_json() for row in self.rows],
        }
        return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def figure(value: float) -> str:
    """Three digits that say something, and no more."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def cells(row: Row) -> list[str]:
    verdict = {None: ", cannot be told", True: ", met", False: ", MISSED"}[row.met]
    target = "" if row.target is None else row.target.text(row.unit) + verdict
    return [
        row.title,
        _median(row.peer, row.unit),
        _median(row.ours, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f} ×",
        target,
        "; ".join(_spread(samples) for samples in (row.peer, row.ours) if samples is not None),
    ]


def text_table(rows: Sequence[Row]) -> str:
    lines = [list(HEADINGS), *(cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in ruled
    )


def markdown(report: Report) -> str:
    about = [f"| {key} | {value} |" for key, value in {**report.machine, **report.versions}.items()]
    pages = [
        "# docker-proxy and envoy-docker-shim, measured side by side",
        f"Made by `{report.command}` on {report.date}; all samples are in results.json.",
        "\n".join(["| | |", "|---|---|", *about]),
        METHOD.replace("\n", " ").strip(),
        "![The figures as ratios, and growth](results.svg)",
        *(_section(report, name) for name in PARTS if name in report.took),
    ]
    return "\n\n".join(pages) + "\n"


def _section(report: Report, name: str) -> str:
    rows = [row for row in report.rows if row.part == name]
    lines = [
        f"## {PARTS[name].title}",
        f"`bench/run {name}`: {report.took[name]:.0f} s; {_stolen(report, name)}.",
    ]
    if name in report.failures:
        lines.append(f"**FAILED**: {report.failures[name]}")
    if rows:
        table = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row) for row in rows)]
        lines.append("\n".join(f"| {' | '.join(line)} |" for line in table))
        if notes := _notes(rows):
            lines.append("\n".join(notes))
    return "\n\n".join(lines)


def _stolen(report: Report, name: str) -> str:
    return f"other machines on the same hardware took {report.stolen[name]:.1f} % of the CPU time meanwhile"


def _notes(rows: Sequence[Row]) -> list[str]:
    """A line for each row; rows that say the same of different sizes share one."""
    said: dict[tuple[str, str], None] = {}
    for row in rows:
        if row.note:
            said[row.what.rpartition(": ")[2], row.note] = None
    return [f"- {what}: {note}" for what, note in said]


def _median(samples: Sequence[float] | None, unit: str) -> str:
    return "" if samples is None else f"{figure(summary(samples).median)} {unit}"


def _spread(samples: Sequence[float]) -> str:
    seen = summary(samples)
    if seen.count == 1:
        return "n=1"
    return f"n={seen.count} {figure(seen.low)}..{figure(seen.high)}"
