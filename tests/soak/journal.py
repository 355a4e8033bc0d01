"""What was done when, and what a client's failure is therefore due to.  No I/O, no clock.

Every event that may disturb a client opens a `Window` before it begins, and says when it was mended: the
container answers by itself again, the program is back.  PROMISE seconds after that all must be as it was.
A failed request that touches no window that covers its endpoint is unexpected.

A registrar that is away excuses nothing but what changed meanwhile: the window of a container that came or
went while it was away lasts until the registrar has been back for PROMISE seconds.  So does dockerd's absence
keep the window of a container open that it had only just started: nobody else knows its labels.
"""

import math
from collections import defaultdict
from typing import NamedTuple

# Seconds from the moment a cause has gone until every port answers again: the README's "a second".
PROMISE = 1.0

# Causes, as the report names them.
CONTAINER = "its own container was started, stopped or paused"
SHIM = "its shim was killed"
ENVOY = "Envoy was away"
DOCKERD = "dockerd came back and took its ports over"
REGISTRAR = "its container came or went while the registrar was away"
NAMELESS = "dockerd was away before it had said whose its container is"

# What is never excused.
UNEXPECTED = "UNEXPECTED: nothing had touched this port, or not within the promised time"
WRONG = "UNEXPECTED: another container answered"
STALE = "its container went while the registrar was away, and another one that got the address answered"


class Endpoint(NamedTuple):
    """What a client asks: ``kind`` is http, tcp or udp."""

    kind: str
    ip: str
    port: int


class Window:
    """From ``begin`` until PROMISE after ``mended``; ``scope`` None: every endpoint."""

    def __init__(
        self, cause: str, begin: float, scope: frozenset[Endpoint] | None, promise: float = PROMISE
    ) -> None:
        self.promise = promise
        self.cause = cause
        self.begin = begin
        self.scope = scope
        self.mended = math.inf

    @property
    def end(self) -> float:
        return self.mended + self.promise

    def covers(self, endpoint: Endpoint) -> bool:
        if self.cause == ENVOY and endpoint.kind == "udp":
            return False  # the shims relay by themselves
        return self.scope is None or endpoint in self.scope

    def widen(self, endpoints: frozenset[Endpoint]) -> None:
        """Docker chose these ports, so they are known only now."""
        assert self.scope is not None
        self.scope |= endpoints


class Tenancy(NamedTuple):
    begin: float
    end: float
    word: str


class Miss(NamedTuple):
    """A request that did not get what the endpoint's container says; ``word``: what another one said."""

    endpoint: Endpoint
    began: float
    ended: float
    outcome: str
    word: str | None


class Outage(NamedTuple):
    """One endpoint, from the beginning of the first failed request to the end of the next good one."""

    endpoint: Endpoint
    began: float
    ended: float


class Journal:
    """Written while the soak runs; judged when it is over."""

    def __init__(self, promise: float = PROMISE) -> None:
        self.promise = promise
        self._windows: list[Window] = []
        self._absences: list[Window] = []  # of the registrar
        self._dockerds: list[Window] = []  # of dockerd
        self._prolongations: dict[tuple[Window, str], float] = {}
        self._tenants: dict[Endpoint, list[Tenancy]] = defaultdict(list)

    def open(self, cause: str, now: float, scope: frozenset[Endpoint] | None = None) -> Window:
        window = Window(cause, now, scope, self.promise)
        self._windows.append(window)
        return window

    def registrar_goes(self, now: float) -> Window:
        window = Window(REGISTRAR, now, None, self.promise)
        self._absences.append(window)
        return window

    def dockerd_goes(self, now: float) -> Window:
        window = Window(NAMELESS, now, None, self.promise)
        self._dockerds.append(window)
        return window

    def left_behind(self, left: tuple[float, float], wanted: float) -> bool:
        """Whether a port that was let go within ``left`` could still be Envoy's when ``wanted`` again.

        It could if the registrar was away when it was let go, and not back for PROMISE yet.
        """
        begin, end = left
        return any(
            absence.begin <= end and absence.end >= begin and absence.end >= wanted
            for absence in self._absences
        )

    # -- who is to answer ------------------------------------------------------------------------

    def occupy(self, endpoint: Endpoint, word: str, now: float) -> None:
        """From now on ``endpoint`` is to answer ``word``."""
        tenants = self._tenants[endpoint]
        if tenants and tenants[-1].end == math.inf:
            if tenants[-1].word == word:
                return
            self.vacate(endpoint, now)
        tenants.append(Tenancy(now, math.inf, word))

    def vacate(self, endpoint: Endpoint, now: float) -> None:
        """From now on nobody is to answer there."""
        tenants = self._tenants[endpoint]
        if tenants and tenants[-1].end == math.inf:
            tenants[-1] = tenants[-1]._replace(end=now)

    def tenant(self, endpoint: Endpoint) -> str | None:
        tenants = self._tenants[endpoint]
        return tenants[-1].word if tenants and tenants[-1].end == math.inf else None

    def _words(self, endpoint: Endpoint, begin: float, end: float) -> set[str]:
        return {t.word for t in self._tenants[endpoint] if t.begin <= end and t.end >= begin}

    # -- whose fault -----------------------------------------------------------------------------

    def judge(self, miss: Miss) -> str | None:
        """The cause of a failed request; None: it was none, its container had only just come or gone."""
        words = self._words(miss.endpoint, miss.began, miss.ended)
        causes = self._causes(miss)
        if miss.word is not None:
            if miss.word in words:
                return None
            return STALE if REGISTRAR in causes else WRONG
        if not words and miss.outcome == "refused":
            return None
        return causes[0] if causes else UNEXPECTED

    def _causes(self, miss: Miss) -> list[str]:
        found = []
        for window in self._windows:
            if not window.covers(miss.endpoint) or window.begin > miss.ended:
                continue
            if window.end >= miss.began:
                found.append(window.cause)
            if window.cause in (CONTAINER, SHIM) and self._prolonged(window, REGISTRAR) >= miss.began:
                found.append(REGISTRAR)
            if window.cause == CONTAINER and self._prolonged(window, NAMELESS) >= miss.began:
                found.append(NAMELESS)
        return sorted(set(found), key=found.index)

    def _prolonged(self, window: Window, cause: str) -> float:
        """Until when the absence of registrar or dockerd keeps ``window`` open; -inf where it was there."""
        if (window, cause) not in self._prolongations:
            end = window.end
            overlapping = -math.inf
            for absence in self._absences if cause == REGISTRAR else self._dockerds:
                if absence.begin <= end and absence.end >= window.begin:
                    end = overlapping = max(end, absence.end)
            self._prolongations[window, cause] = overlapping
        return self._prolongations[window, cause]

    def lateness(self, miss: Miss) -> str:
        """What had touched the endpoint before it failed unexpectedly, and how long that was over."""
        gone = [
            (miss.began - window.mended, window.cause)
            for window in [*self._windows, *self._absences]
            if window.covers(miss.endpoint) and window.mended <= miss.began
        ]
        return "{:.1f} s after: {}".format(*min(gone)) if gone else "nothing before"

    def recovery(self, outage: Outage) -> tuple[str, float]:
        """An outage's cause, and how many seconds after all its causes had gone it ended."""
        causes = self._causes(Miss(outage.endpoint, outage.began, outage.ended, "", None))
        cause = REGISTRAR if REGISTRAR in causes else causes[0] if causes else UNEXPECTED
        absences = {REGISTRAR: self._absences, NAMELESS: self._dockerds}.get(cause, [])
        windows = [
            window
            for window in [*self._windows, *absences]
            if window.covers(outage.endpoint) and window.begin <= outage.ended and window.end >= outage.began
        ]
        mended = max((window.mended for window in windows), default=outage.ended)
        return cause, max(0.0, outage.ended - mended)
