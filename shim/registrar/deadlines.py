"""What falls due with time: members that say when, and do it."""

from collections.abc import Sequence
from typing import Protocol

# What is overdue was just looked at, and waits for something else than time: it is looked at again after this
# (seconds), not at once.
OVERDUE_PAUSE = 0.001


class Member(Protocol):
    """Something with work that time brings, or an Envoy's progress."""

    def due(self) -> float:
        """When ``look`` has something to do even if nothing happens (seconds); infinity: never."""

    def look(self, now: float) -> None:
        """Do what is due, or has become possible.  Cheap where there is nothing."""


class Deadlines:
    """The members in the order in which one's work may be cause for the next one's."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def look(self, now: float) -> None:
        """Have every member do what it can."""
        for member in self._members:
            member.look(now)

    def next(self, now: float) -> float:
        """When to look again at the latest; infinity: only when something happens."""
        return min(max(member.due(), now + OVERDUE_PAUSE) for member in self._members)
