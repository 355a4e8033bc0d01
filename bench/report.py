"""The results as a table for a terminal, and as RESULTS.md."""

from collections.abc import Sequence

from bench.parts import PARTS
from bench.results import Measured, Results
from bench.rows import Result, Summary

HEADINGS = ("what", "docker-proxy", "ours", "ratio", "target", "spread (docker-proxy; ours)")

METHOD = """\
Medians, docker-proxy's and ours measured by turns in the same run; kB are the kernel's, of 1,024 bytes.
Spread: n samples, p10..p90, or lowest..highest where there are fewer than 10. docker-proxy is that of
the engine named in the row, else of Engine 28. Envoy runs one worker thread, docker-proxy as many as it
likes; where a row is about load, the load is on one core and the proxy on the other, so both have one.
Where a row says "beside", what it names is in docker-proxy's place.
"""


def figure(value: float) -> str:
    """Three digits that say something, and no more."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def cells(row: Result) -> list[str]:
    verdict = {None: ", cannot be told", True: ", met", False: ", MISSED"}[row.met]
    target = "" if row.target is None else row.target.text(row.unit) + verdict
    return [
        row.title,
        _median(row.peer, row.unit),
        _median(row.ours, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f} ×",
        target,
        "; ".join(_spread(seen) for seen in (row.peer, row.ours) if seen is not None),
    ]


def text_table(rows: Sequence[Result]) -> str:
    lines = [list(HEADINGS), *(cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in ruled
    )


def markdown(results: Results) -> str:
    pages = [
        "# docker-proxy and envoy-docker-shim, measured side by side",
        "Each part as it was last measured; the figures are in results.json, too.",
        _runs(results),
        METHOD.replace("\n", " ").strip(),
        "![The figures as ratios, and growth](results.svg)",
        *(_section(name, part) for name, part in results.parts.items()),
    ]
    return "\n\n".join(pages) + "\n"


def _runs(results: Results) -> str:
    """What was measured when, on what, with which versions: a column a run."""
    columns = [
        {"made by": f"`{run.command}`", **run.machine, **run.versions} for run in results.runs.values()
    ]
    keys = dict.fromkeys(key for column in columns for key in column)
    lines = [["", *results.runs], ["---"] * (len(columns) + 1)]
    lines += [[key, *(column.get(key, "") for column in columns)] for key in keys]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _section(name: str, part: Measured) -> str:
    lines = [
        f"## {PARTS[name].title}",
        f"`bench/run {name}`, {part.run}: {part.seconds:.0f} s; other machines on the same hardware took "
        f"{part.stolen:.1f} % of the CPU time meanwhile.",
    ]
    if part.failure:
        lines.append(f"**FAILED**: {part.failure}")
    if part.rows:
        table = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row) for row in part.rows)]
        lines.append("\n".join(f"| {' | '.join(line)} |" for line in table))
        if notes := _notes(part.rows):
            lines.append("\n".join(notes))
    return "\n\n".join(lines)


def _notes(rows: Sequence[Result]) -> list[str]:
    """A line for each row; rows that say the same of different sizes share one."""
    said: dict[tuple[str, str], None] = {}
    for row in rows:
        if row.note:
            said[row.what.rpartition(": ")[2], row.note] = None
    return [f"- {what}: {note}" for what, note in said]


def _median(seen: Summary | None, unit: str) -> str:
    return "" if seen is None else f"{figure(seen.median)} {unit}"


def _spread(seen: Summary) -> str:
    return "n=1" if seen.n == 1 else f"n={seen.n} {figure(seen.low)}..{figure(seen.high)}"
