"""What relays have told of their traffic, added up for each lease: a relay that sleeps begins at 0 again."""

from collections import Counter
from collections.abc import Callable

from shim.core.traffic.steps import Steps
from shim.wire.traffic import traffic_in


class UdpTraffic:
    """``relaying``: the leases whose shims relay now, as far as they have told.

    ``clock`` gives seconds on a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.relaying: set[int] = set()
        self._now = clock
        self._totals: dict[int, Counter[str]] = {}
        self._steps: dict[int, Steps] = {}

    def of(self, lease_id: int) -> "Counter[str] | None":
        """A number for each of ``wire.traffic.FIELDS``; None where that shim has not told of any."""
        return self._totals.get(lease_id)

    def rate(self, lease_id: int, field: str, window: float) -> float:
        """How many of ``field`` a second there were in the last ``window`` seconds."""
        steps = self._steps.get(lease_id)
        return steps.rate(field, self._now(), window) if steps is not None else 0.0

    def told(self, lease_id: int, line: str) -> None:
        """Take in a line of a relay's."""
        numbers = traffic_in(line)
        if numbers is None:
            return
        self._steps.setdefault(lease_id, Steps()).told(self._now(), numbers)
        total = self._totals.setdefault(lease_id, Counter())
        total["clients"] = 0
        total.update(numbers)
        self.relaying.add(lease_id)

    def parked(self, lease_id: int) -> None:
        """Its shim sleeps."""
        self.relaying.discard(lease_id)
        if lease_id in self._totals:
            self._totals[lease_id]["clients"] = 0

    def ended(self, lease_id: int) -> None:
        """Its shim has ended."""
        self.relaying.discard(lease_id)
        self._totals.pop(lease_id, None)
        self._steps.pop(lease_id, None)
