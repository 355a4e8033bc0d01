"""The UDP client table: which flows exist, which end next, which make room, and what was lost.

Rules:

* A flow is one client talking to one local address; its key says both, so that a client that
  talks to two addresses of a wildcard bind gets each reply from the right one.
* A flow is NEW until the container answers, then ANSWERED, and KNOWN once its client has sent
  again after an answer: a sender that invents source addresses never sees one.
* A flow ends when ``idle`` seconds have passed since the last datagram in either direction, a NEW
  one after ``unanswered`` seconds.
* The table is bounded.  Where there is no room, NEW flows go first, then ANSWERED, then KNOWN ones,
  of each kind the one idle for longest; but each kind may keep an eighth of the table.  So a flood
  of new ones costs no client its place, and yet a new client has a place until the answer comes.

Flows of each kind are kept in the order of their last datagram, so that a datagram, an expiry and
an eviction each cost O(1): this is the relay's hot path.  Times are seconds on any monotonic clock.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

IDLE = 90.0  # seconds after its last datagram until a flow ends, as docker-proxy's DefaultConnTrackTimeout
UNANSWERED = 10.0  # the same for one that the container never answered
SHARE = 8  # a kind of flows makes no room for others while it has no more than the table's size by this

NEW, ANSWERED, KNOWN = range(3)


class Flow:
    """What the table knows of a flow; the relay's own kind of flow derives from it."""

    __slots__ = ("key", "kind", "noted", "seen")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.kind = NEW
        self.seen = 0.0  # when the last datagram passed, in either direction
        # The same of a KNOWN flow, else no time at all: at this time, the table need not be told again.
        self.noted: float | None = None


F = TypeVar("F", bound=Flow)


class Counters:
    """How many flows came and went, what passed, and how many datagrams were lost on which side."""

    LOSSES = ("created", "dropped_replies", "dropped_requests", "evicted", "expired", "refused")
    __slots__ = (*LOSSES, "errors", "replies", "reply_bytes", "request_bytes", "requests")

    def __init__(self) -> None:
        self.requests = self.request_bytes = 0  # datagrams from clients
        self.replies = self.reply_bytes = 0  # datagrams from the container
        self.errors = 0  # ICMP errors from the container's side
        self.created = 0  # flows
        self.expired = 0  # flows whose time was up
        self.evicted = 0  # flows that made room for another
        self.refused = 0  # datagrams for which no flow could be made
        self.dropped_requests = 0  # datagrams the system would not send to the container
        self.dropped_replies = 0  # datagrams the system would not send to the client

    def asked(self, lengths: list[int]) -> None:
        """Datagrams of these lengths have come from clients."""
        self.requests += len(lengths)
        self.request_bytes += sum(lengths)

    def answered(self, lengths: list[int]) -> None:
        """... from the container."""
        self.replies += len(lengths)
        self.reply_bytes += sum(lengths)

    @property
    def clients(self) -> int:
        """How many flows there are."""
        return self.created - self.expired - self.evicted

    @property
    def lost(self) -> int:
        """How much was lost that a client could have missed: clients' places, and datagrams."""
        return self.evicted + self.refused + self.dropped_requests + self.dropped_replies

    @property
    def lossy(self) -> bool:
        """Whether anything was."""
        return self.lost > 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name)}" for name in self.LOSSES)


class FlowTable(Generic[F]):
    """Room for ``limit`` flows, each dropped when no datagram came for as long as its kind allows."""

    def __init__(self, limit: int, idle: float, counters: Counters | None = None) -> None:
        if limit < 1 or idle <= 0:
            raise ValueError(f"a flow table needs room and time: limit {limit}, idle {idle}")
        self.limit = limit  # may be changed: a table above it shrinks as new flows come
        self.counters = counters or Counters()
        self.patience = min(idle, UNANSWERED)  # no new flow ends before this
        self._idle = (self.patience, idle, idle)  # by kind
        self._flows: dict[Hashable, F] = {}
        # By kind, least recently used first.
        self._queues: tuple[OrderedDict[Hashable, F], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        # A lookup is most of what happens here: spare it a Python frame.
        self.get = self._flows.get
        self._know = self._queues[KNOWN].move_to_end

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, flow: F, now: float) -> None:
        """Take in a new flow, for which there is room."""
        if flow.key in self._flows:
            raise ValueError(f"a flow with this key is here already: {flow.key!r}")
        flow.seen = now
        self._flows[flow.key] = self._queues[NEW][flow.key] = flow
        self.counters.created += 1

    def asked(self, flow: F, now: float) -> None:
        """The client has sent.  ``now`` never goes back."""
        flow.seen = now
        if flow.kind == KNOWN:
            flow.noted = now
            self._know(flow.key)
        elif flow.kind == ANSWERED:
            self._become(KNOWN, flow)
        else:
            self._queues[NEW].move_to_end(flow.key)

    def answered(self, flow: F, now: float) -> None:
        """The container has sent."""
        flow.seen = now
        if flow.kind == KNOWN:
            flow.noted = now
            self._know(flow.key)
        elif flow.kind == NEW:
            self._become(ANSWERED, flow)
        else:
            self._queues[ANSWERED].move_to_end(flow.key)

    def make_room(self) -> list[F]:
        """Drop flows so that one more has room, for the caller to close.

        Where the limit has gone down meanwhile, that is one for the new flow and one more, until the
        table is within it; but a KNOWN one goes for a new flow only.
        """
        evicted: list[F] = []
        excess = len(self._flows) + 1 - self.limit
        if excess > 0 and (flow := self.evict()):
            evicted.append(flow)
        if excess > 1 and self._flows and self._next_kind() != KNOWN and (flow := self.evict()):
            evicted.append(flow)
        return evicted

    def evict(self) -> F | None:
        """Drop the flow that goes first by the rules above, for the caller to close; None: there is none."""
        if not self._flows:
            return None
        self.counters.evicted += 1
        return self._drop(self._next_kind())

    def expire(self, now: float) -> list[F]:
        """Drop every flow whose time is up at ``now``, for the caller to close."""
        ended: list[F] = []
        for kind, queue in enumerate(self._queues):
            while queue and self._end(kind) <= now:
                ended.append(self._drop(kind))
        self.counters.expired += len(ended)
        return ended

    def deadline(self) -> float | None:
        """When the next flow ends if no datagram comes (seconds); None: there are no flows."""
        return min((self._end(kind) for kind, queue in enumerate(self._queues) if queue), default=None)

    def clear(self) -> list[F]:
        """Drop every flow, uncounted, for the caller to close."""
        ended = list(self._flows.values())
        for flows in (self._flows, *self._queues):
            flows.clear()
        return ended

    def _become(self, kind: int, flow: F) -> None:
        del self._queues[flow.kind][flow.key]
        flow.kind = kind
        self._queues[kind][flow.key] = flow

    def _next_kind(self) -> int:
        """The kind that makes room; there are flows."""
        share = len(self._flows) // SHARE
        return next(kind for kind, queue in enumerate(self._queues) if len(queue) > share)

    def _drop(self, kind: int) -> F:
        key, flow = self._queues[kind].popitem(last=False)
        del self._flows[key]
        return flow

    def _end(self, kind: int) -> float:
        return next(iter(self._queues[kind].values())).seen + self._idle[kind]
