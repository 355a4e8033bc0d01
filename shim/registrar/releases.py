"""The shims that are to end as soon as no Envoy listens on their ports."""

import math

from shim.core.lease import Lease
from shim.core.registry import Registry
from shim.registrar.line import EXIT, Lines

# An Envoy that was there before this registrar polls again within this (seconds).
ENVOY_RETURN = 1.0


class Releases:
    """Told to end: when every Envoy has let go, or at a deadline (seconds)."""

    def __init__(self, registry: Registry, lines: Lines, started_at: float) -> None:
        self._registry = registry
        self._lines = lines
        # Until then our predecessor's Envoy may still listen, and be about to come back.
        self._envoy_return = started_at + ENVOY_RETURN
        self._waiting: dict[int, float] = {}  # lease -> deadline
        self._processed = registry.sessions.processed()
        self.due = math.inf  # when there is something to do even if no Envoy gets further

    def add(self, lease: Lease, deadline: float, now: float) -> None:
        if self._is_off(lease, now):
            self._waiting.pop(lease.id, None)
            self._lines.say(lease.id, EXIT)
        else:
            self._waiting[lease.id] = deadline
            self.due = min(self.due, self._look_by(deadline, now))

    def forget(self, lease_id: int) -> None:
        self._waiting.pop(lease_id, None)

    def advance(self, now: float) -> None:
        processed = self._registry.sessions.processed()
        if processed == self._processed and now < self.due:
            return
        for lease_id, deadline in list(self._waiting.items()):
            lease = self._registry.get(lease_id)
            if lease is None or self._is_off(lease, now) or now >= deadline:
                del self._waiting[lease_id]
                self._lines.say(lease_id, EXIT)
        self._processed = processed
        self.due = self._look_by(min(self._waiting.values(), default=math.inf), now)

    def _look_by(self, deadline: float, now: float) -> float:
        return min(deadline, self._envoy_return) if now < self._envoy_return else deadline

    def _is_off(self, lease: Lease, now: float) -> bool:
        if not len(self._registry.sessions) and now < self._envoy_return:
            return False
        return self._registry.off_envoy(lease)
