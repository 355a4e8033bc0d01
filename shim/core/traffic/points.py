"""From stretches of time to the points of the history, whose time they do not keep to."""

import math
from collections.abc import Iterator

from shim.core.traffic.growth import Counted, Growth
from shim.core.traffic.history import EVERY
from shim.core.traffic.statistics import CONNECTS, FAILED, OPEN, RECEIVED, REQUESTS, SENT
from shim.core.traffic.window import Window

NO_PERCENTILES = [math.nan] * 3
# So many clusters are worked out in one go: half a millisecond.
PIECE = 16


class Points:
    """Stretches that are not in a point yet."""

    def __init__(self) -> None:
        self._stretches: list[Growth] = []

    def add(self, growth: Growth) -> range:
        """The next stretch; returns the numbers of the points that all of them are for, if any is due."""
        self._stretches.append(growth)
        return range(int(self._stretches[0].since / EVERY) + 1, int(growth.until / EVERY) + 1)

    def clear(self) -> None:
        """Their point is made."""
        self._stretches.clear()

    def making(self, counted: Counted, window: Window, made: dict[str, list[float]]) -> Iterator[None]:
        """Put into ``made`` each cluster that had anything, with a number for each of history.SERIES.

        Step by step, for percentiles take their time.
        """
        seconds = self._stretches[-1].until - self._stretches[0].since
        sums: dict[str, list[int]] = {}
        for stretch in self._stretches:
            for cluster, counts in stretch.counts.items():
                here = sums.get(cluster)
                sums[cluster] = counts if here is None else list(map(int.__add__, here, counts))
        for cluster, totals in counted.totals.items():
            if cluster not in sums and not totals[OPEN]:
                continue
            counts = sums.get(cluster, [0] * len(totals))
            made[cluster] = [
                counts[REQUESTS] / seconds,
                counts[FAILED] / seconds,
                *(window.percentiles(cluster) or NO_PERCENTILES),
                float(totals[OPEN]),
                counts[CONNECTS] / seconds,
                counts[RECEIVED] / seconds,
                counts[SENT] / seconds,
            ]
            if len(made) % PIECE == PIECE - 1:
                yield
