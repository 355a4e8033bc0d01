"""Clients on the network that connect without pause, and what may become of them while something dies."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, pairwise
from typing import NamedTuple

from tests.harness.attempts import CLOSED, CUT, RESET, Attempt, Attempts
from tests.harness.host import Host
from tests.harness.wait import eventually

PATIENCE = 8.0
# Up to 200 connections a second, and no source port twice: within a minute it would meet what is left of its
# connection (TIME_WAIT), and while neither Envoy nor a registrar is there its TCP would have to ask twice.
REST = 0.004
SOURCE_PORTS = count(20000)
MORE = 40  # answers that each client must have had before what comes next


class Window(NamedTuple):
    """While something died: who was inside then may have lost the connection."""

    since: float
    until: float
    outcomes: tuple[str, ...]

    def spoils(self, attempt: Attempt) -> bool:
        cut_off = attempt.outcome in self.outcomes
        return cut_off and attempt.began <= self.until and attempt.ended >= self.since


class Crowd:
    """Clients on the host's neighbour that ask one port: of either family, or by IPv4 only."""

    def __init__(self, host: Host, port: int, *, six: bool = True) -> None:
        addresses = [(Host.ip, port), *([(Host.ip6, port)] if six else [])]
        self._attempts = [
            Attempts(host.neighbour, address, patience=PATIENCE, rest=REST, ports=SOURCE_PORTS)
            for address in addresses
        ]
        self._windows: list[Window] = []

        self._marks: list[tuple[float, str]] = []

    def mark(self, what: str) -> None:
        """What happens now, to be told beside what was lost."""
        self._marks.append((time.time(), what))

    def __enter__(self) -> "Crowd":
        for attempts in self._attempts:
            attempts.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for attempts in self._attempts:
            attempts.__exit__(None, None, None)

    @contextmanager
    def dying(self, *outcomes: str) -> Iterator[None]:
        """Whatever goes through what dies in here may be cut off; or what else may come of it."""
        since = time.time()
        self.mark("dying")
        yield
        self.mark("dead")
        self._windows.append(Window(since, time.time(), outcomes or (RESET, CLOSED, CUT)))

    def go_on(self) -> None:
        """Return once each client has had some more answers."""
        since = time.time()
        self.mark("goes on")
        for attempts in self._attempts:
            eventually(lambda a=attempts: _answers(a.seen(), since) >= MORE, 20, "answers")  # type: ignore[misc]

    def seen(self) -> list[list[Attempt]]:
        return [attempts.seen() for attempts in self._attempts]

    def lost(self) -> list[Attempt]:
        """Attempts that came to nothing although nothing died under them."""
        return [
            attempt
            for attempts in self.seen()
            for attempt in attempts
            if attempt.outcome != "200" and not any(window.spoils(attempt) for window in self._windows)
        ]

    def story(self) -> str:
        """What was lost without cause, and what happened before and after; empty where nothing was."""
        if not (lost := self.lost()):
            return ""
        events = self._marks + [
            (a.began, f"{a.outcome} after {a.took:.4f} s {attempts.address}")
            for attempts in self._attempts
            for a in attempts.seen()
            if a in lost
        ]
        return "\n".join(f"{when:.4f} {what}" for when, what in sorted(events))

    def slowest(self) -> float:
        """Seconds that a client has waited for its answer."""
        return max(a.took for attempts in self.seen() for a in attempts if a.outcome == "200")

    def report(self, what: str) -> None:
        """A line of counts, and the longest time without an answer."""
        everything = self.seen()
        outcomes = Counter(attempt.outcome for attempts in everything for attempt in attempts)
        pause = max(map(longest_pause, everything))
        print(
            f"{what}: {dict(outcomes)}, without cause {len(self.lost())};"
            f" longest pause {pause * 1000:.0f} ms, slowest answer {self.slowest() * 1000:.0f} ms"
        )

    def served_from_the_first_answer_on(self) -> bool:
        """Whether every attempt of each family's client that began after its first 200 had one too."""
        return all({a.outcome for a in after_the_first(attempts)} == {"200"} for attempts in self.seen())


def after_the_first(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those begun when a first 200 was there."""
    first = min(attempt.ended for attempt in attempts if attempt.outcome == "200")
    return [attempt for attempt in attempts if attempt.began >= first]


def longest_pause(attempts: Sequence[Attempt]) -> float:
    """The longest time between two answers of 200, in seconds."""
    ends = sorted(attempt.ended for attempt in attempts if attempt.outcome == "200")
    return max((after - before for before, after in pairwise(ends)), default=0.0)


def _answers(attempts: Sequence[Attempt], since: float) -> int:
    return sum(attempt.outcome == "200" and attempt.began >= since for attempt in attempts)
