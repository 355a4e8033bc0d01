"""results.json: what each part found when it was last measured, and in which run that was.

A run of some parts replaces those and keeps the others.  A line a result, so that a diff can be read.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.parts import PARTS
from bench.rows import Result


@dataclass(frozen=True)
class Run:
    """One call of bench/run: its command line, on what, and with which versions of what."""

    command: str
    machine: dict[str, str]
    versions: dict[str, str]


@dataclass
class Measured:
    """A part as it was last measured."""

    run: str  # when that began: a key of Results.runs
    seconds: float = 0.0  # how long it took
    stolen: float = 0.0  # percent of the CPU time meanwhile, by a hypervisor for its other guests
    failure: str = ""  # what was wrong; rows are what had been measured before
    rows: list[Result] = field(default_factory=list)


@dataclass
class Results:
    runs: dict[str, Run] = field(default_factory=dict)
    parts: dict[str, Measured] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Empty where there is no such file."""
        if not file.exists():
            return cls()
        found = json.loads(file.read_text())
        parts = {
            name: Measured(**{**part, "rows": [Result.from_json(row) for row in part["rows"]]})
            for name, part in found["parts"].items()
        }
        return cls({date: Run(**run) for date, run in found["runs"].items()}, parts)

    def merge(self, other: "Results") -> None:
        """The other's parts in place of these; runs of which no part is left go."""
        merged = self.parts | other.parts
        self.parts = {name: merged[name] for name in PARTS if name in merged}
        runs = self.runs | other.runs
        self.runs = {date: runs[date] for date in sorted({part.run for part in self.parts.values()})}

    def rows(self) -> Iterator[tuple[str, Result]]:
        """With the part of each."""
        for name, part in self.parts.items():
            yield from ((name, row) for row in part.rows)

    def text(self) -> str:
        runs = [f"  {_json(date)}: {_json(asdict(run))}" for date, run in self.runs.items()]
        parts = [_part_text(name, part) for name, part in self.parts.items()]
        return _block("{", [_block(' "runs": {', runs, " }"), _block(' "parts": {', parts, " }")], "}\n")


def _part_text(name: str, part: Measured) -> str:
    about = {"run": part.run, "seconds": round(part.seconds, 1), "stolen": round(part.stolen, 1)}
    about |= {"failure": part.failure} if part.failure else {}
    rows = [f"   {_json(row.as_json())}" for row in part.rows]
    return _block(f'  {_json(name)}: {_json(about)[:-1]}, "rows": [', rows, "  ]}")


def _block(opening: str, members: list[str], closing: str) -> str:
    """Members on lines of their own."""
    between = ",\n".join(members)
    return f"{opening}\n{between}\n{closing}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
