"""What an operator should look at, by what the registrar knows: the lines of `status` and of the page.

To add one is to add it to ``problems``.  Each looks at the answer of `/status` (docs/reference.md).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from shim.core.doctor.finding import listed
from shim.core.envoy_versions import OLDEST, is_too_old
from shim.core.leases.second_listeners import NOT_YET, OTHER_FAMILY
from shim.wire.flags import format_address

# So many of those that one problem concerns are listed.
SHOWN = 4


def problems(report: dict[str, Any]) -> list[str]:
    """A line for each problem that the registrar knows of."""
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
        name = address_of(binding)
        for node, reason in binding["rejected_by"].items():
            found.append(f"{name} is rejected by Envoy {node}: {reason}")
    found += mislabelled(report)
    if passed := past_envoy(report):
        found.append(passed)
    return found + not_kept(report)


def of_the_host(report: dict[str, Any]) -> list[str]:
    """A line for each problem that only the host knows of; ``report`` as `status --json` has it."""
    found = [
        f"process {shim['pid']} holds {shim['binding']}, unknown to the registrar: run resync"
        for shim in report["unknown_shims"]
    ]
    host = report["host"]
    if without := host["without_shim"]:
        ports = listed(f"{port['address']} ({port['container']})" for port in without)
        found.append(
            f"{len(without)} published ports have no shim, so that Envoy does not serve them: {ports}"
        )
    # Where no table is wanted, Docker's own rules are what is wanted.
    if host["past_envoy"] and report["firewall"]["wanted"] and not past_envoy(report):
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
        f"{_few(map(address_of, bindings))} ({_few(b['service'] for b in bindings)}): {problem}"
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


def is_passed(firewall: dict[str, Any]) -> bool:
    """Whether Docker's rules may lead network clients past Envoy although the firewall is on."""
    if not firewall["wanted"] or firewall["docker_rules"] is False:
        return False
    return not (firewall["active"] and firewall["whole"])


def past_envoy(report: dict[str, Any]) -> str:
    """A line where Docker's rules lead network clients past Envoy although the firewall is on; else empty."""
    firewall = report["firewall"]
    if not is_passed(firewall):
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


def address_of(binding: dict[str, Any]) -> str:
    """The published address of a binding as `/bindings` has it."""
    return f"{binding['protocol']}/{format_address(binding['address'], binding['port'])}"
