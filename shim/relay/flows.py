"""The UDP client table: which flows exist, which end next, and what was lost.

Rules:

* A flow is one client talking to one local address; its key says both, so that a client that
  talks to two addresses of a wildcard bind gets each reply from the right one.
* A flow ends when ``idle`` seconds have passed since the last datagram in either direction.
* The table is bounded: where there is no room, the flow idle for longest makes room.

Flows are kept in the order of their last datagram, so that a datagram, an expiry and an eviction
each cost O(1): this is the relay's hot path.  Times are seconds on any monotonic clock.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

IDLE = 90.0  # seconds after its last datagram until a flow ends, as docker-proxy's DefaultConnTrackTimeout


class Flow:
    """What the table knows of a flow; the relay's own kind of flow derives from it."""

    __slots__ = ("key", "seen")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.seen = 0.0  # when the last datagram passed, in either direction


F = TypeVar("F", bound=Flow)


class Counters:
    """How many flows came and went, and how many datagrams were lost on which side."""

    __slots__ = ("created", "dropped_replies", "dropped_requests", "evicted", "expired", "refused")

    def __init__(self) -> None:
        self.created = 0  # flows
        self.expired = 0  # flows whose time was up
        self.evicted = 0  # flows that made room for another
        self.refused = 0  # datagrams for which no flow could be made
        self.dropped_requests = 0  # datagrams the system would not send to the container
        self.dropped_replies = 0  # datagrams the system would not send to the client

    @property
    def lossy(self) -> bool:
        """Whether anything was lost that a client could have missed."""
        return bool(self.evicted or self.refused or self.dropped_requests or self.dropped_replies)

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name)}" for name in self.__slots__)


class FlowTable(Generic[F]):
    """At most ``limit`` flows, each dropped ``idle`` seconds after its last datagram."""

    def __init__(self, limit: int, idle: float, counters: Counters | None = None) -> None:
        if limit < 1 or idle <= 0:
            raise ValueError(f"a flow table needs room and time: limit {limit}, idle {idle}")
        self.limit = limit
        self.idle = idle
        self.counters = counters or Counters()
        self._flows: OrderedDict[Hashable, F] = OrderedDict()  # least recently used first
        # A lookup is most of what happens here: spare it a Python frame.
        self.get = self._flows.get
        self._to_end = self._flows.move_to_end

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, flow: F, now: float) -> F | None:
        """Take in a new flow; the flow to close to make room for it, or None."""
        if flow.key in self._flows:
            raise ValueError(f"a flow with this key is here already: {flow.key!r}")
        evicted = self.evict() if len(self._flows) >= self.limit else None
        flow.seen = now
        self._flows[flow.key] = flow
        self.counters.created += 1
        return evicted

    def touch(self, flow: F, now: float) -> None:
        """A datagram of this flow passed.  ``now`` never goes back."""
        flow.seen = now
        self._to_end(flow.key)

    def evict(self) -> F | None:
        """Drop the flow idle for longest, for the caller to close; None: there are no flows."""
        if not self._flows:
            return None
        self.counters.evicted += 1
        return self._flows.popitem(last=False)[1]

    def expire(self, now: float) -> list[F]:
        """Drop every flow whose time is up at ``now``, for the caller to close."""
        ended: list[F] = []
        while self._flows and self._oldest().seen + self.idle <= now:
            ended.append(self._flows.popitem(last=False)[1])
        self.counters.expired += len(ended)
        return ended

    def deadline(self) -> float | None:
        """When the next flow ends if nothing else comes; None: there are no flows."""
        return self._oldest().seen + self.idle if self._flows else None

    def clear(self) -> list[F]:
        """Drop every flow, uncounted, for the caller to close."""
        ended = list(self._flows.values())
        self._flows.clear()
        return ended

    def _oldest(self) -> F:
        return next(iter(self._flows.values()))
