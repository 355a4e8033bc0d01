"""One shim's claim on an address."""

from enum import Enum

from shim.core.binding import Binding
from shim.core.envoy.modes import AUTO, Serving
from shim.core.service import Service


class Stage(Enum):
    """How far a lease is published; see registry.py."""

    PENDING = "pending"
    STAGED = "staged"
    LISTED = "listed"
    RELEASING = "releasing"


class Lease:
    """One shim's claim.  ``order`` (the process's start, any unit) says which of two is newer."""

    __slots__ = (
        "binding",
        "cluster",
        "id",
        "listener_sequence",
        "order",
        "orphan",
        "pid",
        "released",
        "service",
        "serving",
        "since",
        "stage",
        "stage_at",
    )

    def __init__(self, id: int, pid: int, binding: Binding, order: float, now: float) -> None:
        self.id = id
        self.pid = pid
        self.binding = binding
        self.order = order
        self.since = now
        self.service: Service | None = None  # with ``serving``: once the labels are known
        self.serving: Serving | None = None
        self.cluster = ""
        self.stage = Stage.PENDING
        self.stage_at = now
        self.listener_sequence = 0  # of the change that put the listener in, or took it out
        # True: this shim itself sent RELEASE.  False: at most another port of its container did.
        self.released = False
        self.orphan = False  # its dockerd has died, and it serves on until there is one again

    @property
    def labelled(self) -> tuple[Service, Serving] | None:
        """What its container's labels say, once they are known."""
        return None if self.service is None or self.serving is None else (self.service, self.serving)

    @property
    def is_looked_at(self) -> bool:
        """Whether Envoy is to look at the first bytes of each of its connections."""
        tcp = self.binding.address.proto == "tcp"
        return tcp and self.serving is not None and self.serving.mode is AUTO

    def enter(self, stage: Stage, now: float) -> None:
        """Set the stage, and when it was reached (``now``: seconds on the registrar's clock)."""
        self.stage, self.stage_at = stage, now
