"""What becomes of what Envoys are sent, counted from the registrar's start on, for `/metrics`."""

from shim.core.discovery.subscription import Subscription
from shim.core.metrics.families import Histogram

KINDS = ("clusters", "listeners")
# Seconds.
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Pushes:
    """What Envoys that count were sent of one kind of resources, and what they said to it."""

    def __init__(self) -> None:
        self.sent = self.accepted = self.refused = 0
        self.seconds = Histogram(BOUNDS)

    def judged(self, subscription: Subscription, now: float) -> None:
        """Envoy's next poll has said what it did with the last answer."""
        self.seconds.observe(now - subscription.served_at)
        if subscription.nacked:
            self.refused += 1
        else:
            self.accepted += 1
