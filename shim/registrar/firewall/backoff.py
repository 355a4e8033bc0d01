"""How long to wait before the same trouble is dealt with again."""

FIRST, MOST = 0.1, 30.0  # seconds
FORGET = 60.0  # seconds without trouble, after which it begins anew


class Backoff:
    """No wait, then 0.1 s and doubling: a program that changes the table again and again costs little."""

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
