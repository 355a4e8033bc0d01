"""What relays have told of their traffic, added up for each lease: a relay that sleeps begins at 0 again."""

from collections import Counter

from shim.wire.traffic import traffic_in


class UdpTraffic:
    """``relaying``: the leases whose shims relay now, as far as they have told."""

    def __init__(self) -> None:
        self.relaying: set[int] = set()
        self._totals: dict[int, Counter[str]] = {}

    def of(self, lease_id: int) -> "Counter[str] | None":
        """A number for each of ``wire.traffic.FIELDS``; None where that shim has not told of any."""
        return self._totals.get(lease_id)

    def told(self, lease_id: int, line: str) -> None:
        """Take in a line of a relay's."""
        numbers = traffic_in(line)
        if numbers is None:
            return
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
