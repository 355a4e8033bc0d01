"""``envoy-docker-shim traces``: the traces that the registrar keeps, and one of them span by span."""

import json
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from io import TextIOWrapper
from typing import Any
from urllib.parse import urlencode

from shim.commands.common import CommandError, complain, configuration, parser, read_api
from shim.commands.logs import local_time
from shim.core.traces.waterfall import Drawing

LINES, MOST_LINES = 20, 1000
TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "traces",
        "Show the last traces that the registrar keeps (tracing: {local: true}), or one of them.",
        "traces",
        "traces web --errors",
        "traces 4bf92f3577b34da6a3ce929d0e0e4736",
    )
    made.add_argument(
        "wanted", metavar="SERVICE_OR_ID", nargs="?", help="only this service's or container's; or one trace"
    )
    made.add_argument(
        "--errors", action="store_true", help="only answers from 400 on, and what got no answer"
    )
    made.add_argument(
        "-n", "--lines", metavar="N", type=int, default=LINES, help=f"the last N at most; default: {LINES}"
    )
    made.add_argument("--json", action="store_true", help="for programs")
    return made


def main(args: list[str]) -> int:
    """Show them.  0, 1 when they cannot be read, 2 for bad usage."""
    read = arguments()
    options = read.parse_args(args)
    if not 1 <= options.lines <= MOST_LINES:
        read.error(f"--lines {options.lines}: must be from 1 to {MOST_LINES}")
    config = configuration(options.config)
    wanted = options.wanted or ""
    one = TRACE_ID.fullmatch(wanted) is not None
    asked = {"service": wanted, "limit": options.lines, "errors": int(options.errors)}
    try:
        found = read_api(config.api_address, f"/traces/{wanted}" if one else f"/traces?{urlencode(asked)}")
    except CommandError as error:
        complain(str(error))
        return 1
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what this terminal's encoding does not have
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    drawing = Drawing(local_time, sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    lines = list(drawing.trace(found) if one else _listed(found, drawing))
    for line in lines:
        print(line)
    if not lines:
        failed = " that failed" if options.errors else ""
        complain(f"no trace{f' of {wanted}' if wanted else ''}{failed} among the last {found['limit']} spans")
    return 0


def _listed(found: Any, drawing: Drawing) -> Iterator[str]:
    """The newest at the end, where a terminal is looked at."""
    for trace in reversed(found["traces"]):
        yield drawing.line(trace)
