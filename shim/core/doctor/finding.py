"""What a check finds, and the words that findings share."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from shim.core.doctor.facts import Facts

# Of many things, so many are named.
NAMED = 4


class Finding(NamedTuple):
    """One line of what is wrong, and one of what to do."""

    what: str
    cure: str


class Check(NamedTuple):
    """One row: ``look`` finds nothing on a healthy host.  It may raise CannotTell."""

    name: str
    meaning: str  # what it makes sure of, for the documentation
    look: Callable[[Facts], Iterable[Finding]]


def listed(names: Iterable[object]) -> str:
    """The names for a sentence: all of few, some of many."""
    texts = sorted({str(name) for name in names})
    more = len(texts) - NAMED
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")
