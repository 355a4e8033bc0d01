"""Clients that ask on and on: one without pause, for what must hold while something dies; rounds of them."""

import itertools
import threading
from collections import Counter
from typing import TypeVar

from .netns import Namespace, request
from .wait import eventually

R = TypeVar("R", bound="Rounds")


class Client:
    """Asks one port without pause, and counts what it gets, by phase."""

    def __init__(self, machine: Namespace, port: int) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.phase = "before"
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=machine.call, args=(self._run,), daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            phase = self.phase
            try:
                outcome = str(request(f"http://127.0.0.1:{self._port}/", timeout=2).status)
            except OSError as error:
                outcome = type(error).__name__
            self.counts.setdefault(phase, Counter())[outcome] += 1

    def asked(self, phase: str, times: int) -> None:
        """Return once this phase has seen so many answers."""
        self.phase = phase
        eventually(lambda: sum(self.counts.get(phase, Counter()).values()) >= times, 20, phase)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Rounds:
    """While it is entered: calls ``one`` with 0, 1, 2, ... in the namespace, ``pause`` seconds apart."""

    def __init__(self, machine: Namespace, pause: float) -> None:
        self._pause = pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=machine.call, args=(self._run,), daemon=True)

    def one(self, number: int) -> None:
        """A round."""
        raise NotImplementedError

    def __enter__(self: R) -> R:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        for number in itertools.count():
            if self._ended.wait(self._pause):
                return
            self.one(number)
