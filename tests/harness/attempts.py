"""Clients that never rest and keep every attempt: when it began, how long it took, what came of it.

For what is promised of each attempt; load.Client counts outcomes only.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import NamedTuple

from .backends import parse_headers
from .clients import Address, head
from .netns import Namespace

REFUSED, RESET, HANG = "refused", "reset", "hang"
CLOSED, CUT = "closed", "cut"  # without an answer; inside one


class Attempt(NamedTuple):
    began: float  # wall clock, as Docker's events
    took: float
    outcome: str  # one of the above, or the status of a whole answer
    text: str = ""  # the answer's body

    @property
    def ended(self) -> float:
        return self.began + self.took


class Attempts:
    """``clients`` threads on ``machine``, each asking ``address`` on one new connection after the other.

    An attempt that has come to nothing after ``patience`` seconds is a HANG.  ``pause`` is what a client that
    was refused waits: without any it takes a whole processor.  ``rest`` is what each waits otherwise.
    ``ports`` are the source ports to use, one an attempt; without, they are the system's choice.
    """

    def __init__(
        self,
        machine: Namespace,
        address: Address,
        clients: int = 1,
        *,
        patience: float = 2.0,
        pause: float = 0.0,
        rest: float = 0.0,
        ports: Iterator[int] | None = None,
    ) -> None:
        self.address = address
        self._patience = patience
        self._pause = pause
        self._rest = rest
        self._ports = ports
        self._seen: list[list[Attempt]] = [[] for _ in range(clients)]
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=machine.call, args=(self._run, seen), daemon=True) for seen in self._seen
        ]

    def __enter__(self) -> "Attempts":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def seen(self) -> list[Attempt]:
        """Every attempt that has ended so far, in the order in which they began."""
        return sorted(attempt for seen in self._seen for attempt in list(seen))

    def answered(self, times: int) -> bool:
        """Whether every client has had so many 200s."""
        return all(sum(a.outcome == "200" for a in list(seen)) >= times for seen in self._seen)

    def last_answers(self) -> set[str]:
        """What each client was told last; nothing for one that got no answer."""
        return {seen[-1].text if seen else "" for seen in self._seen}

    def _run(self, seen: list[Attempt]) -> None:
        while not self._ended.is_set():
            seen.append(attempt(self.address, self._patience, self._ports))
            if self._pause and seen[-1].outcome == REFUSED:
                self._ended.wait(self._pause)
            elif self._rest:
                self._ended.wait(self._rest)


def longest(attempts: Iterable[Attempt], outcome: str) -> str:
    """The most that an attempt with this outcome took, for a report."""
    return f"{max((a.took for a in attempts if a.outcome == outcome), default=0) * 1000:.1f} ms"


def attempt(address: Address, patience: float, ports: Iterator[int] | None = None) -> Attempt:
    began, clock = time.time(), time.monotonic()
    outcome, text = _outcome(address, clock + patience, next(ports) if ports else 0)
    return Attempt(began, time.monotonic() - clock, outcome, text)


def _outcome(address: Address, deadline: float, port: int) -> tuple[str, str]:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    answer = b""
    with contextlib.closing(socket.socket(family)) as peer:
        try:
            peer.settimeout(deadline - time.monotonic())
            if port:
                peer.bind(("", port))
            peer.connect(address)
            peer.sendall(head("GET", "/", ["Connection: close"]))
            while data := peer.recv(65536):
                answer += data
                peer.settimeout(max(0.001, deadline - time.monotonic()))
        except ConnectionRefusedError:
            return REFUSED, ""
        except (ConnectionResetError, BrokenPipeError):
            return RESET, ""
        except TimeoutError:
            return HANG, answer.decode(errors="replace")
    if not answer:
        return CLOSED, ""
    start, _, body = answer.partition(b"\r\n\r\n")
    length = parse_headers(start).get("content-length", "")
    if length != str(len(body)):
        return CUT, answer.decode(errors="replace")
    return start.split(b" ", 2)[1].decode(), body.decode(errors="replace")
