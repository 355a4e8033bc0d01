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
    """Looked at only when an Envoy got further or time has come: a thousand of them cost no more."""

    def __init__(self, registry: Registry, pipes: ControlPipes, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._pipes = pipes
        self._now = clock
        self._started_at = clock()
        self._waiting: dict[int, float] = {}  # lease -> by when
        self._due = math.inf  # when to look again, with an Envoy's progress left aside
        self._processed = registry.sessions.processed()

    def begin(self, lease: Lease, since: float) -> None:
        """``lease`` is withdrawn; its shim has waited since then."""
        deadline = since + RELEASE_TIMEOUT
        if self._is_off(lease, self._now()):
            self._waiting.pop(lease.id, None)
            self._pipes.say(lease.id, EXIT)
        else:
            self._waiting[lease.id] = deadline
            self._due = min(self._due, self._look_by(deadline))

    def ended(self, lease_id: int) -> None:
        """Its shim has ended."""
        self._waiting.pop(lease_id, None)

    def due(self) -> float:
        """When to look again, an Envoy's progress left aside; infinity: nothing waits."""
        return self._due

    def look(self, now: float) -> None:
        """Tell those whose time has come."""
        processed = self._registry.sessions.processed()
        if processed == self._processed and now < self._due:
            return
        for lease_id, deadline in list(self._waiting.items()):
            lease = self._registry.get(lease_id)
            if lease is None or self._is_off(lease, now) or now >= deadline:
                del self._waiting[lease_id]
                self._pipes.say(lease_id, EXIT)
        self._processed = processed
        self._due = self._look_by(min(self._waiting.values(), default=math.inf))

    def _look_by(self, deadline: float) -> float:
        envoy_return = self._started_at + ENVOY_RETURN
        return min(deadline, envoy_return) if self._now() < envoy_return else deadline

    def _is_off(self, lease: Lease, now: float) -> bool:
        if not self._registry.sessions.trusted() and now - self._started_at < ENVOY_RETURN:
            # Our predecessor's Envoy may still listen, and will be back in a moment.
            return False
        return self._registry.off_envoy(lease)
