"""How long to wait before the same trouble is dealt with again."""

FIRST, MOST = 0.1, 30.0
FORGET = 60.0  # trouble that comes after so long a quiet is new


class Backoff:
    """At once, then 0.1 s and doubling: whoever fights with us for the table is not outpaced."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._delay = 0.0

    def next(self, now: float) -> float:
        """Seconds to wait this time."""
        if now - self._last > FORGET + self._delay:
            self._delay = 0.0
            delay = 0.0
        else:
            delay = self._delay = min(MOST, self._delay * 2 or FIRST)
        self._last = now
        return delay
