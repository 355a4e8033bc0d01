"""Fields of a JSON object that others made, as a terminal may show them: nothing here raises."""

from collections.abc import Mapping
from typing import Any

# Characters of what a client sent.
TEXT_LIMIT = 400


def printable(text: str) -> str:
    """``text`` on one line, what cannot be printed as its escape, and cut where it is long."""
    return cut("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:TEXT_LIMIT]), TEXT_LIMIT)


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def text_in(of: Mapping[str, Any], name: str) -> str:
    """The text, printable; empty where it is none."""
    value = of.get(name)
    return printable(value) if isinstance(value, str) else ""


def number_in(of: Mapping[str, Any], name: str) -> float:
    """The number, or 0: also for what JSON has beside numbers, and for those beyond all bounds."""
    value = of.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        return 0.0
    return float(value)
