"""The last ten minutes of each service: a ring of points, for those that had any traffic."""

import math
from array import array
from collections.abc import Iterator, Sequence

# Seconds between two points, and how many there are.
EVERY, POINTS = 5.0, 120
# What a point has of a service, in this order.  Of UDP "requests" are datagrams from clients.
SERIES = ("requests", "errors", "p50", "p95", "p99", "connections", "connects", "in", "out")
# The charts show this one of the many services at once: requests, or connections where there are none.
_REQUESTS, _CONNECTS = SERIES.index("requests"), SERIES.index("connects")
# Without a request there is none of these, not one of 0.
_NONE_AT_REST = ("p50", "p95", "p99")
_AT_REST = [math.nan if name in _NONE_AT_REST else 0.0 for name in SERIES]

Value = float | None


class History:
    """Points are numbered by their time, ``int(seconds / EVERY)`` on the caller's clock."""

    def __init__(self) -> None:
        self.newest = -1
        self._looked = bytearray(POINTS)
        self._rows: dict[str, array[float]] = {}
        self._last: dict[str, int] = {}  # the newest point that a row has anything of
        # What `activity` said last: of 120,000 numbers of a thousand services a few are new each time.
        # The text, its newest point, and which of SERIES it is of.
        self._charts: dict[str, tuple[bytearray, int, int]] = {}

    def begin(self, number: int) -> None:
        """The point of this number, which is newer than all before, is one at which somebody looked."""
        for passed in range(max(self.newest + 1, number - POINTS + 1), number):
            self._looked[passed % POINTS] = 0
        slot = number % POINTS
        self._looked[slot] = 1
        self.newest = number
        for name in [name for name, last in self._last.items() if last <= number - POINTS]:
            del self._rows[name], self._last[name]
            self._charts.pop(name, None)
        for row in self._rows.values():
            row[slot * len(SERIES) : (slot + 1) * len(SERIES)] = array("f", _AT_REST)

    def put(self, name: str, values: Sequence[float]) -> None:
        """What a service has at the newest point: a number for each of SERIES, NaN where there is none."""
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = array("f", _AT_REST * POINTS)
        self._last[name] = self.newest
        begin = self.newest % POINTS * len(SERIES)
        row[begin : begin + len(SERIES)] = array("f", values)

    def series(self, name: str) -> dict[str, list[Value]]:
        """All series of one service, the oldest point first; null where nobody looked, or there is none."""
        row = self._rows.get(name)
        return {series: self._values(row, field) for field, series in enumerate(SERIES)}

    def activity(self) -> Iterator[tuple[str, bytes]]:
        """Of each service that had any traffic its requests as a list in JSON, the oldest point first.

        Where it had no request it is its connections.
        """
        for name, row in list(self._rows.items()):
            yield name, self._chart(name, row)

    def _chart(self, name: str, row: "array[float]") -> bytes:
        """The text of before without its oldest points, and with those that have come since."""
        text, until, field = self._charts.get(name, (bytearray(), -1, _CONNECTS))
        wanted = _REQUESTS if field == _REQUESTS or any(row[_REQUESTS :: len(SERIES)]) else _CONNECTS
        first = self.newest - POINTS + 1
        if wanted != field or until < first or not text:
            text, until = bytearray(), first - 1
        for number in range(until + 1, self.newest + 1):
            if until >= first:
                del text[: text.index(b",") + 1]
            value = self._value(row, wanted, number)
            text += b",null" if value is None else b",%g" % value
        if until < first:
            del text[0]
        self._charts[name] = text, self.newest, wanted
        return b"[" + bytes(text) + b"]"

    def _values(self, row: "array[float] | None", field: int) -> list[Value]:
        return [self._value(row, field, at) for at in range(self.newest - POINTS + 1, self.newest + 1)]

    def _value(self, row: "array[float] | None", field: int, number: int) -> Value:
        slot = number % POINTS
        if number < 0 or not self._looked[slot]:
            return None
        value = _AT_REST[field] if row is None else row[slot * len(SERIES) + field]
        # As many digits as a chart can show.
        return None if math.isnan(value) else float(f"{value:.4g}")
