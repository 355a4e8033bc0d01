"""The services as a table in a terminal: which columns there are, in what order rows come, what fits.

To add a column is to add a row to COLUMNS.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from shim.core.logs.entry import size
from shim.core.text import printable
from shim.core.traffic.rows import WORST_FIRST

Row = Mapping[str, Any]  # one of the services of `GET /services`

RED, YELLOW, BOLD, REVERSED, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[7m", "\x1b[0m"
NAME_LIMIT = 40
# A success rate below the first is worth a look, below the second a hurry.
GOOD, BAD = 0.99, 0.9


class Column(NamedTuple):
    """``name`` is its word for `--sort`, ``key`` the key that sorts by it.

    ``value`` is what rows are sorted by, None coming last; ``text`` is what is shown.
    ``weight``: of what does not fit, the lightest leaves first.
    """

    name: str
    title: str
    key: str
    value: Callable[[Row], Any]
    text: Callable[[Row], str]
    weight: int
    descending: bool = True
    left: bool = False


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _of(form: Callable[[float], str], name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row.get(name) is None else form(float(row[name]))


def _name(row: Row) -> str:
    service, environment = row.get("service"), row.get("environment")
    text = f"{service}/{environment}" if environment else service or row["id"]
    return printable(str(text), NAME_LIMIT)


def _word(name: str) -> Callable[[Row], str]:
    return lambda row: printable(str(row.get(name) or "-"))


def _address(row: Row) -> str:
    first, *others = [printable(str(address)) for address in row["addresses"]] or ["-"]
    return f"{first} +{len(others)}" if others else first


def _state(row: Row) -> int:
    return WORST_FIRST.index(row["state"]) if row["state"] in WORST_FIRST else len(WORST_FIRST)


def _packets(row: Row) -> float | None:
    found = [row[name] for name in ("packets_in", "packets_out") if row.get(name) is not None]
    return sum(found) if found else None


def count(value: float) -> str:
    """A rate in few characters: 0, 0.2, 12.5, 340, 12.3k."""
    if value >= 9_999.5:
        for unit in ("k", "M", "G"):
            value /= 1000
            if value < 999.95:
                return f"{value:.1f}{unit}"
        return f"{value:.0f}G"
    return f"{value:.0f}" if value >= 99.95 or value == 0 else f"{value:.1f}" if value >= 0.05 else "<0.1"


def whole(value: float) -> str:
    """A number of things: 7, 9999, 12.3k."""
    return count(value) if value >= 100 else f"{value:.0f}"


def milliseconds(value: float) -> str:
    """A duration in few characters; Envoy's own are whole milliseconds."""
    if value >= 9_999.5:
        return f"{value / 1000:.0f}s"
    return "<1" if value < 1 else f"{value:.0f}"


def percent(share: float) -> str:
    """100 only where it is all."""
    return "100" if share >= 1 else f"{min(99.99, share * 100):.2f}"


def _packets_text(row: Row) -> str:
    found = _packets(row)
    return "-" if found is None else count(found)


COLUMNS = (
    Column("service", "SERVICE", "s", _name, _name, 100, descending=False, left=True),
    Column("address", "ADDRESS", "a", _field("addresses"), _address, 20, descending=False, left=True),
    Column("mode", "MODE", "m", _field("mode"), _word("mode"), 30, descending=False, left=True),
    Column("state", "STATE", "t", _state, _word("state"), 60, descending=False, left=True),
    Column("requests", "REQ/S", "r", _field("requests"), _of(count, "requests"), 95),
    Column("success", "OK %", "k", _field("success"), _of(percent, "success"), 90, descending=False),
    Column("p50", "P50 MS", "5", _field("p50"), _of(milliseconds, "p50"), 65),
    Column("p95", "P95 MS", "9", _field("p95"), _of(milliseconds, "p95"), 80),
    Column("p99", "P99 MS", "p", _field("p99"), _of(milliseconds, "p99"), 70),
    Column("connections", "CONN", "c", _field("connections"), _of(whole, "connections"), 85),
    Column("connects", "CONN/S", "n", _field("connects"), _of(count, "connects"), 50),
    Column("in", "IN/S", "i", _field("in"), _of(size, "in"), 55),
    Column("out", "OUT/S", "o", _field("out"), _of(size, "out"), 75),
    Column("packets", "PKT/S", "u", _packets, _packets_text, 45),
)
BY_NAME = {column.name: column for column in COLUMNS}
BY_KEY = {column.key: column for column in COLUMNS}


class Look(NamedTuple):
    """How the table is to look.  ``width`` and ``height``: characters and lines; 0: whatever it takes."""

    sort: Column = BY_NAME["requests"]
    reverse: bool = False
    width: int = 0
    height: int = 0
    colours: bool = False


def is_of(row: Row, wanted: str) -> bool:
    """Whether a row is this service's, container's or cluster's."""
    return wanted in (row["service"], row["container"], row["id"])


def ordered(rows: Sequence[Row], look: Look) -> list[Row]:
    """The rows as they are to come: what has no value last, what has the same by traffic and name."""
    found = sorted(rows, key=lambda row: (-(row.get("out") or 0), str(row["id"])))
    value = look.sort.value
    valued = [row for row in found if value(row) is not None]
    valued.sort(key=value, reverse=look.sort.descending is not look.reverse)
    return valued + [row for row in found if value(row) is None]


def lines(answer: Mapping[str, Any], rows: Sequence[Row], look: Look) -> list[str]:
    """The table, and above it what is wrong; ``answer`` is that of `GET /services`, ``rows`` some of its."""
    head = [_summary(answer, rows), *_problems(answer, look), ""]
    room = max(1, look.height - len(head) - 1) if look.height else len(rows)
    shown = ordered(rows, look)[:room]
    return [cut(line, look.width) for line in head] + _table(shown, look)


def _summary(answer: Mapping[str, Any], rows: Sequence[Row]) -> str:
    def total(name: str) -> float:
        return sum(row[name] or 0 for row in rows)

    when = str(answer["now"])[11:19]
    parts = [
        f"{when} UTC",
        f"{len(rows)} service{'' if len(rows) == 1 else 's'}",
        f"{count(total('requests'))} requests/s",
        f"{size(total('in'))}/s in",
        f"{size(total('out'))}/s out",
        "the first rates come soon" if answer["warming"] else f"last {answer['window']:.0f} s",
    ]
    return ", ".join(parts)


def _problems(answer: Mapping[str, Any], look: Look) -> list[str]:
    found = [printable(str(problem), 500) for problem in answer["problems"]]
    most = 3 if look.height else len(found)
    shown = [f"! {problem}" for problem in found[:most]]
    if len(found) > most:
        shown.append(f"! and {len(found) - most} more: envoy-docker-shim status")
    return shown


def _table(rows: Sequence[Row], look: Look) -> list[str]:
    columns = list(COLUMNS)
    texts = {column.name: [column.text(row) for row in rows] for column in columns}
    widths = {c.name: max(_width(text) for text in (c.title, *texts[c.name])) for c in columns}
    while look.width and sum(widths[c.name] + 2 for c in columns) - 2 > look.width:
        if len(columns) == 1:
            break
        columns.remove(min((c for c in columns if c is not look.sort), key=lambda c: c.weight))
    found = [_line(columns, {c.name: c.title for c in columns}, widths, look, -1)]
    if look.colours:
        found = [f"{REVERSED}{line}{PLAIN}" for line in found]
    for number, row in enumerate(rows):
        cells = {c.name: texts[c.name][number] for c in columns}
        line = _line(columns, cells, widths, look, number)
        colour = _colour(row) if look.colours else ""
        found.append(f"{colour}{line}{PLAIN}" if colour else line)
    return found


def _line(
    columns: Sequence[Column], cells: Mapping[str, str], widths: Mapping[str, int], look: Look, number: int
) -> str:
    parts = []
    for column in columns:
        text = cells[column.name]
        blank = " " * (widths[column.name] - _width(text))
        parts.append(text + blank if column.left else blank + text)
    line = "  ".join(parts)
    return cut(line if number < 0 and look.colours else line.rstrip(), look.width)


def _colour(row: Row) -> str:
    success = row.get("success")
    if row["state"] == "rejected" or (success is not None and success < BAD):
        return RED
    return YELLOW if row["state"] != "serving" or (success is not None and success < GOOD) else ""


def _width(text: str) -> int:
    """How many cells of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text: str, width: int) -> str:
    """As much of a line as fits."""
    if not width or _width(text) <= width:
        return text
    while text and _width(text) > width:
        text = text[: max(width, len(text) // 2) if len(text) > 2 * width else -1]
    return text
