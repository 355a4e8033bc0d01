"""``envoy-docker-shim status``: what is published, who serves it, and what is wrong."""

import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable
from typing import Any

import trio

from shim.commands.common import CommandError, complain, configuration, parser, read_api
from shim.core.doctor.finding import listed
from shim.core.envoy_versions import OLDEST, is_too_old
from shim.core.leases.second_listeners import NOT_YET, OTHER_FAMILY
from shim.doctor.glance import as_report, glance
from shim.wire.flags import format_address

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

# So many of those that one problem concerns are listed.
SHOWN = 4


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "status",
        "Show bindings, Envoys, Docker, and shims that the registrar does not know.",
        "status",
        "status --json",
    )
    made.add_argument("--json", action="store_true", help="for programs")
    return made


def main(args: list[str]) -> int:
    """Show the status.  0 when all is well, 1 when something needs a look, 2 for bad usage."""
    options = arguments().parse_args(args)
    config = configuration(options.config)
    try:
        report = read_api(config.api_address, "/status")
    except CommandError as error:
        complain(str(error))
        return 1
    seen = trio.run(glance, config.docker_host)
    if not {shim.pid for shim in seen.shims} <= _pids(report):
        try:
            report = read_api(config.api_address, "/status")  # one may have come since
        except CommandError as error:
            complain(str(error))
            return 1
    known = _pids(report)
    report["unknown_shims"] = [
        {"pid": shim.pid, "binding": str(shim.binding)} for shim in seen.shims if shim.pid not in known
    ]
    report["host"] = as_report(seen, report["bindings"])
    report["problems"] = problems(report)
    print(json.dumps(report, indent=1) if options.json else table(report))
    return 1 if report["problems"] else 0


def _pids(report: dict[str, Any]) -> set[int]:
    return {binding["pid"] for binding in report["bindings"]}


def problems(report: dict[str, Any]) -> list[str]:
    """What an operator should look at, a line each."""
    found = []
    if not report["docker"]["reachable"]:
        found.append(f"Docker is not reachable: {report['docker'].get('error') or 'not tried yet'}")
    envoys = [envoy for envoy in report["envoys"] if envoy["trusted"]]
    if not envoys:
        found.append(f"no Envoy is connected: {without_envoy(report)}")
        for envoy in report["envoys"]:
            found.append(
                f"user {envoy['user']} asks as Envoy {envoy['node']}, and does not count: if it is yours,"
                f" set envoy_user: {envoy['user']}"
            )
    for envoy in envoys:
        if is_too_old(envoy["version"]):
            version = f"{envoy['version']}, and the oldest that is supported is {OLDEST}"
            found.append(f"Envoy {envoy['node']} is version {version}")
        if envoy["refuses"] and not envoy["rejected"]:
            found.append(f"Envoy {envoy['node']} refuses its configuration; see its log")
    for binding in report["bindings"]:
        name = _address(binding)
        for node, reason in binding["rejected_by"].items():
            found.append(f"{name} is rejected by Envoy {node}: {reason}")
    found += mislabelled(report)
    if passed := past_envoy(report):
        found.append(passed)
    found += not_kept(report)
    for shim in report["unknown_shims"]:
        found.append(f"process {shim['pid']} holds {shim['binding']}, unknown to the registrar: run resync")
    # Where no table is wanted, Docker's own rules are what is wanted.
    return found + of_the_host(report["host"], bool(passed) or not report["firewall"]["wanted"])


def of_the_host(host: dict[str, Any], passed: bool) -> list[str]:
    """What the host does with published ports; ``passed``: it is said or wanted that Envoy is passed."""
    found = []
    if without := host["without_shim"]:
        ports = listed(f"{port['address']} ({port['container']})" for port in without)
        found.append(
            f"{len(without)} published ports have no shim, so that Envoy does not serve them: {ports}"
        )
    if host["past_envoy"] and not passed:
        ports = listed(host["past_envoy"])
        found.append(f"network clients are led past Envoy by Docker's own rules, not in the table: {ports}")
    for at in host["dropped"]:
        where = f"chain {at['chain']} of table {at['table']}"
        found.append(f"network clients of {listed(at['ports'])} are dropped by the host's firewall: {where}")
    return found


def mislabelled(report: dict[str, Any]) -> list[str]:
    """A line for each thing that is wrong with a container's labels, and the addresses that it concerns."""
    concerned: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for binding in report["bindings"]:
        if binding["problem"]:
            concerned.setdefault((binding["container"], binding["problem"]), []).append(binding)
    return [
        f"{_few(map(_address, bindings))} ({_few(b['service'] for b in bindings)}): {problem}"
        for (_, problem), bindings in concerned.items()
    ]


def _few(texts: Iterable[str]) -> str:
    found = list(dict.fromkeys(texts))
    return ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")


def without_envoy(report: dict[str, Any]) -> str:
    """What becomes of clients while no Envoy is there."""
    firewall = report["firewall"]
    if not firewall["docker_rules"] or (firewall["wanted"] and not firewall.get("fail_open", True)):
        return "published TCP ports are not served"
    return "clients on the network reach containers by Docker's own rules, and those on this host are refused"


def past_envoy(report: dict[str, Any]) -> str:
    """A line where Docker's rules lead network clients past Envoy although the firewall is on; else empty."""
    firewall = report["firewall"]
    if not firewall["wanted"] or firewall["docker_rules"] is False:
        return ""
    if firewall["active"] and firewall["whole"]:
        return ""
    tcp = [b for b in report["bindings"] if b["protocol"] == "tcp" and b["mode"] != "direct"]
    ports = sum(binding["network"]["by"] == "docker" for binding in tcp)
    if not ports:
        return ""
    reason = firewall["reason"] or "the table is not whole"
    if firewall["docker_rules"] is None:
        return (
            f"network clients of {ports} addresses are led past Envoy if Docker has firewall rules: {reason}"
        )
    return f"network clients of {ports} addresses are led past Envoy by Docker's own rules: {reason}"


def not_kept(report: dict[str, Any]) -> list[str]:
    """A line for each reason why containers do not see clients' addresses although they could."""
    wanted = [b["client_address"] for b in report["bindings"] if b["client_address"]]
    reasons = Counter(found["why"] for found in wanted if not found["kept"])
    return [
        f"the containers of {count} addresses do not see their clients' addresses: {why}"
        for why, count in reasons.items()
        if why not in (OTHER_FAMILY, NOT_YET)
    ]


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    rows = [COLUMNS, *(_row(binding) for binding in report["bindings"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.append("")
    docker = "reachable" if report["docker"]["reachable"] else "NOT reachable"
    lines.append(f"registrar {report['version']}, up since {report['since']}; Docker {docker}")
    for envoy in report["envoys"]:
        if not envoy["trusted"]:
            continue
        name = f"{envoy['node']} ({envoy['version'] or 'version unknown'})"
        lines.append(f"Envoy {name}, connected since {envoy['since']}: {_acknowledged(envoy)}")
    for problem in report["problems"]:
        lines.append(f"! {problem}")
    if report["problems"]:
        lines.append("`envoy-docker-shim doctor` looks for causes, and says what cures them")
    lines += [f"? not checked: {what}" for what in report["host"]["not_checked"]]
    return "\n".join(lines)


def _row(binding: dict[str, Any]) -> tuple[str, ...]:
    return (
        binding["state"],
        _address(binding),
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


def _address(binding: dict[str, Any]) -> str:
    return f"{binding['protocol']}/{format_address(binding['address'], binding['port'])}"


def _acknowledged(envoy: dict[str, Any]) -> str:
    parts = []
    for kind in ("listeners", "clusters"):
        version = envoy[kind]["acknowledged"][:12] or "none"
        parts.append(f"{kind} {version} ({'current' if envoy[kind]['current'] else 'NOT current'})")
    return ", ".join(parts)
