"""Tells shims that release their ports to end: each once no Envoy listens there, or after RELEASE_TIMEOUT."""

import math
from collections.abc import Callable

from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry
from shim.registrar.control_pipes import ControlPipes
from shim.wire.words import EXIT

# A release is answered after this long (seconds) even if some Envoy still listens: a little before the shim
# itself stops waiting (shim.wire.words.RELEASE_WAIT).
RELEASE_TIMEOUT = 1.8
# An Envoy that was there before this registrar polls again within this (seconds).
ENVOY_RETURN = 1.0


class Releases:
    """The shims that wait for EXIT.  Rescanned only after an Envoy's poll, or at a deadline."""

    def __init__(self, registry: Registry, pipes: ControlPipes, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._pipes = pipes
        self._now = clock
        self._started_at = clock()
        self._waiting: dict[int, float] = {}  # lease -> its deadline
        self._due = math.inf  # when to scan again even if no Envoy polls
        self._processed = registry.sessions.processed()

    @property
    def waiting(self) -> int:
        """How many shims wait."""
        return len(self._waiting)

    def begin(self, lease: Lease, since: float) -> None:
        """Send EXIT to a withdrawn lease's shim, which waits since ``since`` (seconds), once Envoy is off."""
        deadline = since + RELEASE_TIMEOUT
        if self._is_off(lease, self._now()):
            self._waiting.pop(lease.id, None)
            self._pipes.say(lease.id, EXIT)
        else:
            self._waiting[lease.id] = deadline
            self._due = min(self._due, self._next_scan(deadline))

    def ended(self, lease_id: int) -> None:
        """Forget a lease whose shim has ended."""
        self._waiting.pop(lease_id, None)

    def due(self) -> float:
        """When to call ``advance`` even if no Envoy polls (seconds); infinity: no shim waits."""
        return self._due

    def advance(self, now: float) -> None:
        """Send EXIT to each shim whose port no Envoy has, or whose deadline passed."""
        processed = self._registry.sessions.processed()
        if processed == self._processed and now < self._due:
            return
        for lease_id, deadline in list(self._waiting.items()):
            lease = self._registry.get(lease_id)
            if lease is None or self._is_off(lease, now) or now >= deadline:
                del self._waiting[lease_id]
                self._pipes.say(lease_id, EXIT)
        self._processed = processed
        self._due = self._next_scan(min(self._waiting.values(), default=math.inf))

    def _next_scan(self, deadline: float) -> float:
        envoy_return = self._started_at + ENVOY_RETURN
        return min(deadline, envoy_return) if self._now() < envoy_return else deadline

    def _is_off(self, lease: Lease, now: float) -> bool:
        if not self._registry.sessions.trusted() and now - self._started_at < ENVOY_RETURN:
            # An Envoy that an earlier registrar served may still listen, and polls again within ENVOY_RETURN.
            return False
        return self._registry.off_envoy(lease)
