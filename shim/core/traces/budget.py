"""How much may be done: so much in a second, and a little more after a pause."""


class Budget:
    """A bucket of tokens: ``rate`` come in each second, and at most ``burst`` are kept."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + self._rate * max(0.0, now - self._at))
        self._at = now

    def take(self, tokens: float, now: float) -> bool:
        """Take them if they are there; returns whether they were."""
        self._refill(now)
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True

    def borrow(self, tokens: float, now: float) -> float:
        """Take them all the same; returns after how many seconds nothing is owed."""
        self._refill(now)
        self._tokens -= tokens
        return max(0.0, -self._tokens / self._rate)
