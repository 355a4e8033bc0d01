"""Docker's own rules in what `iptables-save` prints, and what is left without them.

Docker leaves them in the kernel when it is started with `"iptables": false`: they would lead clients past
Envoy, or drop what the strict way's rules let through.  The rules' forms are those of Engine 20.10 and 28.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from shim.core.setup.egress import Network

POLICY = re.compile(r"^:FORWARD (ACCEPT|DROP)\b")


class Left(NamedTuple):
    """The text for `iptables-restore`, FORWARD's policy before, and what there is of users' own."""

    text: str
    policy: str
    users: list[str]  # rules in DOCKER-USER, which go
    others: bool  # somebody else has rules in FORWARD: its policy stays


def without_docker(saved: str, networks: Iterable[Network]) -> Left:
    """All but Docker's."""
    found = list(networks)
    ours = _patterns({network.bridge for network in found})
    subnets = [ip_network(subnet) for network in found for subnet in network.subnets]
    users = [
        line.removeprefix("-A DOCKER-USER ")
        for line in saved.splitlines()
        if line.startswith("-A DOCKER-USER ") and line != "-A DOCKER-USER -j RETURN"
    ]
    kept = [
        line
        for line in saved.splitlines()
        if not (any(p.search(line) for p in ours) or _masquerades(line, subnets))
    ]
    others = any(line.startswith("-A FORWARD ") for line in kept)
    policies = [match[1] for line in kept if (match := POLICY.match(line))]
    if not others:
        kept = [
            POLICY.sub(":FORWARD ACCEPT", line) if _of_filter(kept, i) else line
            for i, line in enumerate(kept)
        ]
    return Left("\n".join(kept) + "\n", policies[-1] if policies else "ACCEPT", users, others)


def _of_filter(lines: list[str], at: int) -> bool:
    """Whether this line is in the table `filter`: `mangle` has a chain FORWARD too."""
    table = next((line for line in reversed(lines[: at + 1]) if line.startswith("*")), "")
    return table == "*filter"


def _patterns(bridges: set[str]) -> list[re.Pattern[str]]:
    bridge = f"(?:{'|'.join(map(re.escape, sorted(bridges))) or '(?!)'})"
    return [
        re.compile(pattern)
        for pattern in (
            r"^:DOCKER\b",
            r"^-A DOCKER\b",
            r" -[jg] DOCKER\b",
            rf"^-A FORWARD -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT$",
            rf"^-A FORWARD -i {bridge} (?:! )?-o {bridge} -j (?:ACCEPT|DROP)$",
            rf"^-A PREROUTING -d \S+ ! -i {bridge} -j DROP$",
            r"^-A PREROUTING -d 127\.0\.0\.1/32 ! -i lo -p (?:tcp|udp) .*-j DROP$",
        )
    ]


def _masquerades(line: str, subnets: list[IPv4Network | IPv6Network]) -> bool:
    """A network's masquerading, or that of a container that asks itself by a published port."""
    match = re.match(r"-A POSTROUTING -s ([0-9a-f.:]+)(/\d+) .*-j MASQUERADE$", line)
    if match is None:
        return False
    source = ip_network(match[1] + match[2], strict=False)
    return any(source == subnet or ip_address(match[1]) in subnet for subnet in subnets)
