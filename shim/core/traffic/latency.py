"""Percentiles of what an Envoy's histogram has got since an earlier look at it.

Envoy counts whole milliseconds, rounded down, in bins of two significant digits (circllhist): up to 99 ms
each has a bin of its own.  So a bin stands here for at least one millisecond from its lower bound on, and is
taken to be evenly filled.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

PERCENTILES = (50, 95, 99)

# "lower bound,width" as Envoy writes them, to how many values.
Bins = dict[bytes, int]


def bins_of(text: bytes) -> Bins:
    """The bins in a histogram's line; what is none of them is left out."""
    return _parsed(text.split(b", "))


def _parsed(parts: Iterable[bytes]) -> Bins:
    found: Bins = {}
    for part in parts:
        bound, _, count = part.partition(b":")
        if count.isdigit() and len(count) < 20 and _span(bound) is not None:
            found[bound] = int(count)
    return found


def grown(before: bytes, after: bytes) -> Bins:
    """What came between two lines of one histogram: all of the second, if it has begun anew meanwhile."""
    if before == after:
        return {}
    # Most bins are what they were.
    parts_before, parts_after = set(before.split(b", ")), set(after.split(b", "))
    old, new = _parsed(parts_before - parts_after), _parsed(parts_after - parts_before)
    if any(new.get(bound, 0) < count for bound, count in old.items()):
        return _parsed(parts_after)
    return {bound: count - old.get(bound, 0) for bound, count in new.items() if count > old.get(bound, 0)}


def add(total: Bins, part: Mapping[bytes, int]) -> None:
    """Put another's values into ``total`` too."""
    for bound, count in part.items():
        total[bound] = total.get(bound, 0) + count


def take_out(total: Bins, part: Mapping[bytes, int]) -> None:
    """Take out of ``total`` what was added before."""
    for bound, count in part.items():
        total[bound] -= count
        if not total[bound]:
            del total[bound]


def percentiles(bins: Mapping[bytes, int], wanted: Sequence[int] = PERCENTILES) -> "list[float] | None":
    """The values (ms) below which so many percent are, for each of ``wanted``, ascending; None: no values."""
    total = sum(bins.values())
    if not total:
        return None
    spans = sorted((span, count) for bound, count in bins.items() if (span := _span(bound)) is not None)
    found: list[float] = []
    below = 0
    for (lower, upper), count in spans:
        while len(found) < len(wanted) and below + count >= (rank := total * wanted[len(found)] / 100):
            found.append(lower + (upper - lower) * (rank - below) / count)
        below += count
    return found


@lru_cache(maxsize=2048)
def _span(bound: bytes) -> "tuple[float, float] | None":
    """From where to where a bin goes (ms); None where it is none."""
    lower, _, width = bound.partition(b",")
    try:
        begin, size = float(lower), float(width)
    except ValueError:
        return None
    # Not "nan", nor beyond what Envoy has.
    return (begin, begin + max(1.0, size)) if 0 <= begin < 1e18 and 0 <= size < 1e18 else None
