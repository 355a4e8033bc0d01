"""The registrar's work that becomes possible with time or with an Envoy's progress, and when it is due."""

from collections.abc import Sequence
from typing import Protocol

# A member still overdue waits for an Envoy: retry after this pause (seconds), no busy loop.
OVERDUE_PAUSE = 0.001


class Timed(Protocol):
    """Something with work that time, or an Envoy's progress, makes due."""

    def due(self) -> float:
        """When ``advance`` has work even if nothing happens (seconds); infinity: never."""

    def advance(self, now: float) -> None:
        """Run what is due, or has become possible, at ``now`` (seconds).  Cheap where there is nothing."""


class Deadlines:
    """The members, in an order in which the work of one may make that of a later one possible."""

    def __init__(self, members: Sequence[Timed]) -> None:
        self._members = members

    def advance(self, now: float) -> None:
        """Run what is due of every member."""
        for member in self._members:
            member.advance(now)

    def next(self, now: float) -> float:
        """When to call ``advance`` again at the latest (seconds); infinity: only if something happens."""
        return min(max(member.due(), now + OVERDUE_PAUSE) for member in self._members)
