"""Rates from reports that come now and then, each of what came since the one before: what UDP relays tell."""

from collections import deque
from collections.abc import Mapping

# A relay reports this often while there is something (seconds).
SPAN = 5.0
# A report that comes so long after the one before is late; after a longer time nothing had come meanwhile.
LATE = 1.5 * SPAN
# As many reports as are needed for a window of four spans.
KEPT = 6


class Steps:
    """The last reports of one relay, and rates from them.

    A report is taken to be of evenly spread traffic, so that steady traffic has a steady rate: counted when
    they come, reports every 5 s would make it jump.
    """

    def __init__(self) -> None:
        self._reports: deque[tuple[float, float, Mapping[str, int]]] = deque(maxlen=KEPT)

    def told(self, now: float, numbers: Mapping[str, int]) -> None:
        """A report comes; ``now``: seconds on any clock."""
        before = self._reports[-1][1] if self._reports else now - SPAN
        self._reports.append((before if now - before < LATE else now - SPAN, now, numbers))

    def rate(self, field: str, now: float, window: float) -> float:
        """Per second, in the last ``window`` seconds of which there can be reports by now."""
        newest = self._reports[-1][1] if self._reports else now
        end = max(newest, now - SPAN)
        begin = end - window
        total = 0.0
        for since, until, numbers in self._reports:
            if until > begin:
                share = (until - max(begin, since)) / (until - since) if until > since else 1.0
                total += share * numbers[field]
        return total / window
