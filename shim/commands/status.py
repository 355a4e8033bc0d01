"""``envoy-docker-shim status``: what is published, who serves it, and what is wrong."""

import json
from argparse import ArgumentParser
from typing import Any

import trio

from shim.commands.common import CommandError, complain, configuration, parser, read_api
from shim.commands.screen import is_terminal, show_again_and_again
from shim.config.keys import Config
from shim.core.doctor.problems import address_of, of_the_host, problems
from shim.doctor.glance import as_report, glance

COLUMNS = (
    "STATE",
    "ADDRESS",
    "MODE",
    "BY",
    "NETWORK",
    "SERVICE",
    "ENVIRONMENT",
    "CONTAINER",
    "BACKEND",
    "SINCE",
    "ENVOYS",
)
EVERY = 2.0  # seconds between two looks of `--watch`


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "status",
        "Show bindings, Envoys, Docker, and shims that the registrar does not know.",
        "status",
        "status --json",
        "status --watch",
    )
    made.add_argument("--json", action="store_true", help="for programs")
    made.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=float,
        const=EVERY,
        help=f"show it anew every {EVERY:g} seconds, or so many, until Ctrl-C",
    )
    return made


def main(args: list[str]) -> int:
    """Show the status.  0 when all is well, 1 when something needs a look, 2 for bad usage."""
    read = arguments()
    options = read.parse_args(args)
    if options.watch is not None and options.json:
        read.error("--watch is for people, --json for programs: one of them")
    if options.watch is not None and not 0.1 <= options.watch <= 3600:
        read.error(f"--watch {options.watch:g}: from 0.1 to 3600 seconds")
    config = configuration(options.config)
    if options.watch is not None:
        return _watch(config, options.watch)
    try:
        report = look(config)
    except CommandError as error:
        complain(str(error))
        return 1
    print(json.dumps(report, indent=1) if options.json else table(report))
    return 1 if report["problems"] else 0


def _watch(config: Config, every: float) -> int:
    """Show it again and again; the exit status is that of the last look."""
    status = 0

    def text() -> str:
        nonlocal status
        try:
            report = look(config)
        except CommandError as error:
            status = 1
            return f"! {error}"
        status = 1 if report["problems"] else 0
        return table(report, is_terminal())

    show_again_and_again(text, every)
    return status


def look(config: Config) -> dict[str, Any]:
    """What `status --json` prints.  Raises CommandError: the registrar does not answer."""
    report = read_api(config.api_address, "/status")
    seen = trio.run(glance, config.docker_host)
    if not {shim.pid for shim in seen.shims} <= _pids(report):
        report = read_api(config.api_address, "/status")  # one may have come since
    known = _pids(report)
    report["unknown_shims"] = [
        {"pid": shim.pid, "binding": str(shim.binding)} for shim in seen.shims if shim.pid not in known
    ]
    report["host"] = as_report(seen, report["bindings"])
    report["problems"] = problems(report) + of_the_host(report)
    return dict(report)


def _pids(report: dict[str, Any]) -> set[int]:
    return {binding["pid"] for binding in report["bindings"]}


def table(report: dict[str, Any], summary_first: bool = False) -> str:
    """The report for people.  ``summary_first``: for a screen on which not all of it may have room."""
    rows = [COLUMNS, *(_row(binding) for binding in report["bindings"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    summary = _summary(report)
    return "\n".join([*summary, "", *lines] if summary_first else [*lines, "", *summary])


def _summary(report: dict[str, Any]) -> list[str]:
    docker = "reachable" if report["docker"]["reachable"] else "NOT reachable"
    lines = [f"registrar {report['version']}, up since {report['since']}; Docker {docker}"]
    for envoy in report["envoys"]:
        if not envoy["trusted"]:
            continue
        name = f"{envoy['node']} ({envoy['version'] or 'version unknown'})"
        lines.append(f"Envoy {name}, connected since {envoy['since']}: {_acknowledged(envoy)}")
    for problem in report["problems"]:
        lines.append(f"! {problem}")
    if report["problems"]:
        lines.append("`envoy-docker-shim doctor` looks for causes, and says what cures them")
    return lines + [f"? not checked: {what}" for what in report["host"]["not_checked"]]


def _row(binding: dict[str, Any]) -> tuple[str, ...]:
    return (
        binding["state"],
        address_of(binding),
        binding["mode"] or "-",
        binding.get("mode_by") or "-",
        binding["network"]["by"],
        binding["service"] or "-",
        binding["environment"] or "-",
        binding["container"] or "-",
        binding["backend"],
        binding["since"],
        ",".join(binding["acknowledged_by"]) or "-",
    )


def _acknowledged(envoy: dict[str, Any]) -> str:
    parts = []
    for kind in ("listeners", "clusters"):
        version = envoy[kind]["acknowledged"][:12] or "none"
        parts.append(f"{kind} {version} ({'current' if envoy[kind]['current'] else 'NOT current'})")
    return ", ".join(parts)
