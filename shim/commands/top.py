"""``envoy-docker-shim top``: what passes each service, live."""

import math
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

from shim.commands.common import CommandError, complain, configuration, parser, read_api
from shim.commands.screen import Screen, is_terminal, shows_colours
from shim.core.traffic.table import BY_KEY, BY_NAME, COLUMNS, Look, cut, is_of, lines

PAGE = "/services"
QUIT = "q"
# Seconds between two questions while there are no rates yet, and how long that may be.
WARMING_PAUSE, WARMING = 0.3, 8.0
KEYS = f"{QUIT} quit; sorted by: " + ", ".join(f"{column.key} {column.name}" for column in COLUMNS)


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "top",
        "Show what passes each service: requests, success, latency, connections, bytes.",
        "top",
        "top --sort p95 shop",
    )
    made.add_argument("service", metavar="SERVICE", nargs="?", help="only this service's or container's")
    made.add_argument("--sort", metavar="COLUMN", choices=BY_NAME, default="requests", help=_sorts())
    made.add_argument("--every", metavar="S", type=float, help="seconds between two looks; default: 2")
    made.add_argument(
        "-n",
        "--rounds",
        metavar="N",
        type=int,
        default=0,
        help="end after N; default: none on a terminal, else 1",
    )
    return made


def _sorts() -> str:
    return f"by what rows are sorted: {', '.join(BY_NAME)}; default: requests"


def main(args: list[str]) -> int:
    """Show it.  0, 1 when the registrar does not answer or knows no such service, 2 for bad usage."""
    read = arguments()
    options = read.parse_args(args)
    if options.every is not None and not 0.1 <= options.every <= 3600:
        read.error(f"--every {options.every:g}: from 0.1 to 3600 seconds")
    if options.rounds < 0:
        read.error(f"--rounds {options.rounds}: must not be below 0")
    config = configuration(options.config)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what this terminal's encoding does not have
    look = Look(BY_NAME[options.sort], colours=shows_colours())
    watch = Watch(lambda: read_api(config.api_address, PAGE), options.service, look, options.every)
    try:
        watch.ask()
        if is_terminal():
            watch.live(options.rounds or math.inf)
        else:
            watch.printed(options.rounds or 1)
    except BrokenPipeError:
        # Whoever read has read enough; Python must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except CommandError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        pass
    return 0


class Watch:
    """The last answer, and how it is shown.  ``every``: seconds; None: as often as there is something new."""

    def __init__(
        self, ask: Callable[[], Any], service: str | None, look: Look, every: float | None = None
    ) -> None:
        self._ask = ask
        self._service = service
        self._look = look
        self._every = every
        self._answer: Any = None
        self._trouble = ""

    def ask(self) -> None:
        """Ask for a new answer.  Raises CommandError: there is none, or no such service."""
        answer = self._ask()
        wanted = self._service
        if wanted and self._answer is None and not any(is_of(row, wanted) for row in answer["services"]):
            raise CommandError(f"no service, container or cluster is called {wanted}")
        self._answer, self._trouble = answer, ""

    def live(self, rounds: float) -> None:
        """Show it in place until a key says to end, or so many answers were shown.

        Raises KeyboardInterrupt.
        """
        with Screen() as screen:
            while True:
                due = time.monotonic() + self._pause
                while (left := due - time.monotonic()) > 0:
                    width, height = screen.size
                    look = self._look._replace(width=width, height=height - 1)
                    screen.draw([*self._lines(look)[: height - 1], cut(self._trouble or KEYS, width)])
                    key = screen.wait(left)
                    if key == QUIT:
                        return
                    self._sort_by(key)
                rounds -= not self._answer["warming"]
                if rounds <= 0:
                    return
                try:
                    self.ask()
                except CommandError as error:
                    self._trouble = f"! {error}"

    def printed(self, rounds: int) -> None:
        """Print it so often, once there are rates.

        Raises CommandError, BrokenPipeError, KeyboardInterrupt.
        """
        patience = time.monotonic() + WARMING
        while self._answer["warming"] and time.monotonic() < patience:
            time.sleep(WARMING_PAUSE)
            self.ask()
        for number in range(rounds):
            if number:
                print()
                time.sleep(self._pause)
                self.ask()
            print("\n".join(self._lines(self._look)), flush=True)

    @property
    def _pause(self) -> float:
        if self._answer["warming"] and not self._trouble:
            return WARMING_PAUSE
        return self._every or float(self._answer["every"])

    def _lines(self, look: Look) -> list[str]:
        rows = [row for row in self._answer["services"] if not self._service or is_of(row, self._service)]
        return lines(self._answer, rows, look)

    def _sort_by(self, key: str) -> None:
        column = BY_KEY.get(key)
        if column is self._look.sort:
            self._look = self._look._replace(reverse=not self._look.reverse)
        elif column is not None:
            self._look = self._look._replace(sort=column, reverse=False)
