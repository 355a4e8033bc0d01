"""The last seconds of all services: sums of what came to each, and its percentiles."""

from collections import deque
from collections.abc import Iterable

from shim.core.traffic.growth import Growth
from shim.core.traffic.latency import Bins, add, percentiles, take_out
from shim.core.traffic.statistics import REQUESTS

# Rates and percentiles look back so far (seconds).
WINDOW = 10.0
# A window may be so much longer, for looks are not to the millisecond.
SLACK = 0.5


class Window:
    """``seconds``: how long it is now; 0 before there is a first stretch of time."""

    def __init__(self, length: float = WINDOW) -> None:
        self._length = length
        self._stretches: deque[Growth] = deque()
        self._sums: dict[str, list[int]] = {}
        self._bins: dict[str, Bins] = {}
        # What was last measured of each cluster: Envoy tells that in steps of its own, of 5 s or more.
        self._newest: dict[str, Bins] = {}
        self._percentiles: dict[str, list[float] | None] = {}

    @property
    def seconds(self) -> float:
        """From the begin of the first stretch to the end of the last."""
        return self._stretches[-1].until - self._stretches[0].since if self._stretches else 0.0

    def add(self, growth: Growth) -> None:
        """The next stretch, which begins where the last one ended; what is too old leaves."""
        self._stretches.append(growth)
        for cluster, counts in growth.counts.items():
            here = self._sums.get(cluster)
            self._sums[cluster] = counts if here is None else list(map(int.__add__, here, counts))
            if cluster not in self._bins:
                self._percentiles.pop(cluster, None)
        for cluster, bins in growth.latencies.items():
            add(self._bins.setdefault(cluster, {}), bins)
            self._newest[cluster] = bins
            self._percentiles.pop(cluster, None)
        while len(self._stretches) > 1 and self.seconds > self._length + SLACK:
            self._remove(self._stretches.popleft())

    def _remove(self, growth: Growth) -> None:
        for cluster, bins in growth.latencies.items():
            take_out(self._bins[cluster], bins)
            if not self._bins[cluster]:
                del self._bins[cluster]
            self._percentiles.pop(cluster, None)
        for cluster, counts in growth.counts.items():
            left = list(map(int.__sub__, self._sums[cluster], counts))
            if any(left):
                self._sums[cluster] = left
            else:
                del self._sums[cluster]
                self._newest.pop(cluster, None)
                self._percentiles.pop(cluster, None)

    def sums(self, cluster: str) -> "list[int] | None":
        """A number for each of statistics.FIELDS; None: nothing came."""
        return self._sums.get(cluster)

    def active(self) -> Iterable[tuple[str, list[int]]]:
        """Each cluster to which anything came, with its sums."""
        return self._sums.items()

    def percentiles(self, cluster: str) -> "list[float] | None":
        """Its percentiles (latency.PERCENTILES); None: there was no request, or Envoy has not told yet."""
        if cluster not in self._percentiles:
            self._percentiles[cluster] = self._worked_out(cluster)
        return self._percentiles[cluster]

    def _worked_out(self, cluster: str) -> "list[float] | None":
        bins, sums = self._bins.get(cluster), self._sums.get(cluster)
        if not bins and sums is not None and sums[REQUESTS]:
            bins = self._newest.get(cluster)
        return percentiles(bins) if bins else None
