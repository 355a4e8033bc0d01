"""Clients outside that ask one port without rest, and what they missed meanwhile."""

import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from tests.harness.netns import Namespace, request
from tests.harness.wait import eventually

REST = 0.02  # seconds between two questions
PATIENCE = 2.0  # seconds that a question may take


class Asked(NamedTuple):
    """One question: when it was answered or given up, and what came of it (empty: the right answer)."""

    at: float
    problem: str


class Asking:
    """Context manager: asks from `place` by `ask`, which raises OSError or returns whether all was right."""

    def __init__(self, place: Namespace, name: str, ask: Callable[[], bool]) -> None:
        self.name, self._ask, self.seen = name, ask, list[Asked]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=place.call, args=(self._run,), daemon=True)

    def __enter__(self) -> "Asking":
        self._thread.start()
        eventually(lambda: self.seen and not self.seen[-1].problem, 10, f"{self.name} answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(REST):
            try:
                problem = "" if self._ask() else "a wrong answer"
            except OSError as error:
                problem = type(error).__name__
            self.seen.append(Asked(time.monotonic(), problem))

    def failed(self) -> list[Asked]:
        """What was not answered."""
        return [asked for asked in self.seen if asked.problem]

    def outage(self) -> float:
        """The longest time between two answers, in seconds; none where nothing failed."""
        if not self.failed():
            return 0.0
        answered = [asked.at for asked in self.seen if not asked.problem]
        return max(after - before for before, after in pairwise(answered))

    def report(self, during: str) -> None:
        """A line of it."""
        print(
            f"{during}: {self.name}: {len(self.failed())} of {len(self.seen)} failed,"
            f" outage {self.outage() * 1000:.0f} ms {sorted({asked.problem for asked in self.failed()})}"
        )


def http(address: str, port: int, word: str) -> Callable[[], bool]:
    """A request on a connection of its own, answered with that word."""
    return lambda: request(f"http://{address}:{port}/", timeout=PATIENCE).text == f"{word}\n"


def echo(address: str, port: int) -> Callable[[], bool]:
    """A line on a connection of its own, which comes back."""

    def ask() -> bool:
        with socket.create_connection((address, port), PATIENCE) as peer:
            peer.sendall(b"echo, please\n")
            with peer.makefile("rb") as lines:
                return lines.readline() == b"echo, please\n"

    return ask
