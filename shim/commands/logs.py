"""``envoy-docker-shim logs``: the access log as a person likes to read it."""

import os
import sys
from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from io import TextIOWrapper
from typing import NamedTuple

from shim.commands.common import CommandError, complain, configuration, parser
from shim.commands.log_sources import Input, Journal, Source
from shim.config.keys import Config
from shim.core.envoy.access_log import OFF
from shim.core.logs.entry import Entry, Shape, failed, is_of, parse
from shim.host.log_file import LogFile

LINES = 100


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "logs",
        "Show the access log: requests, and connections in tcp mode.",
        "logs web --follow",
        "logs --errors -n 20",
    )
    made.add_argument("service", metavar="SERVICE", nargs="?", help="only this service's or container's")
    made.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    made.add_argument(
        "--errors", action="store_true", help="only answers from 400 on, and what got no answer"
    )
    made.add_argument(
        "-n", "--lines", metavar="N", type=int, default=LINES, help=f"the last N at most; default: {LINES}"
    )
    made.add_argument("--json", action="store_true", help="the lines as they are")
    made.add_argument("--file", metavar="FILE", help="default: as access_log says; - for standard input")
    made.add_argument("--unit", metavar="UNIT", default="envoy", help="whose output it is; default: envoy")
    return made


def main(args: list[str]) -> int:
    """Show it.  0, 1 when it cannot be read, 2 for bad usage."""
    read = arguments()
    options = read.parse_args(args)
    if options.lines < 0:
        read.error(f"--lines {options.lines}: must not be below 0")
    config = configuration(options.config)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what this terminal's encoding does not have
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    wanted = Wanted(options.service, options.errors, None if options.json else Shape(local_time, colours))
    try:
        with closing(_source(config, options.file, options.unit, options.follow)) as source:
            last = deque(wanted.shown(source.last()), maxlen=options.lines)
            _write(last)
            if not last and not options.follow:
                complain(_why_nothing(config, options.service))
            if options.follow:
                for line in wanted.shown(source.following()):
                    _write([line])
    except BrokenPipeError:
        # Whoever read has read enough; Python must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        complain(f"{error.filename or 'the log'}: cannot be read: {error.strerror or error}")
        return 1
    except CommandError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def local_time(text: str) -> str:
    """A moment as Envoy writes it, on this host's clock; as it is where it is no such moment."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError, OSError):
        return text
    return moment.isoformat(" ", "milliseconds")[:23]


class Wanted(NamedTuple):
    """Which lines are shown, and how: without a ``shape`` as they are."""

    service: str | None
    errors: bool
    shape: Shape | None

    def shown(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Each of the access log's lines that is wanted, as it is shown."""
        for line in lines:
            entry = parse(line)
            if entry is None or not self._wants(entry):
                continue
            yield self.shape.line(entry) if self.shape else line.decode(errors="backslashreplace")

    def _wants(self, entry: Entry) -> bool:
        return (self.service is None or is_of(entry, self.service)) and (not self.errors or failed(entry))


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def _source(config: Config, file: str | None, unit: str, follow: bool) -> Source:
    if file == "-":
        return Input(follow)
    if file or config.access_log_file:
        return LogFile(file or config.access_log_file)
    return Journal(unit)


def _why_nothing(config: Config, service: str | None) -> str:
    if config.access_log == OFF:
        return "no line: access_log is off, and no container with AccessLog=on was asked for anything"
    return f"no line{f' of {service}' if service else ''}: nothing was asked for"
