"""Takes Docker's own rules out of the kernel, which a Docker without them leaves there."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from shim.core.setup.docker_rules import without_docker
from shim.core.setup.egress import Network
from shim.setup.tools import SetupError, run, succeeds

# The programs of each family: what prints its rules, what takes them, and what sets a policy.
FAMILIES = {"4": "iptables", "6": "ip6tables"}
TIMEOUT = 30.0


def saved(family: str) -> str:
    """All rules of a family, empty where its programs are not there.  Raises SetupError."""
    program = f"{FAMILIES[family]}-save"
    return run([program], timeout=TIMEOUT) if shutil.which(program) else ""


def restore(family: str, text: str) -> None:
    """Put these rules in the place of all in their tables.  Raises SetupError."""
    program = f"{FAMILIES[family]}-restore"
    done = subprocess.run(
        [program], input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT, cwd="/"
    )
    if done.returncode:
        raise SetupError(f"{program}: {' '.join(done.stderr.split())[:300]}")


def clear_docker_rules(networks: Iterable[Network]) -> tuple[dict[str, str], dict[str, str]]:
    """Do it; returns what was there, and FORWARD's policies, by family.  Raises SetupError."""
    before = {family: saved(family) for family in FAMILIES}
    policies = {}
    for family, text in before.items():
        if text:
            left = without_docker(text, networks)
            policies[family] = left.policy
            restore(family, left.text)
    return before, policies


def restore_all(before: Mapping[str, str]) -> None:
    """The rules as they were, by family.  Raises SetupError."""
    for family, text in before.items():
        if text:
            restore(family, text)


def complete_docker_rules(policies: Mapping[str, str], networks: Iterable[Network]) -> None:
    """What of its own rules Docker makes only where no container lives through its start.  Raises SetupError.

    Otherwise the network `bridge` has no masquerading (Engine 20.10 and 28), and users' rules have no chain
    (20.10).  As Docker looks before it adds a rule, none is there twice after its next start.
    """
    for family, policy in policies.items():
        run([FAMILIES[family], "-P", "FORWARD", policy], timeout=TIMEOUT)
    nat = {family for family, program in FAMILIES.items() if succeeds([program, "-t", "nat", "-S", "DOCKER"])}
    for network in networks:
        for subnet in network.subnets if network.masquerades and not network.internal else ():
            family = str(ip_network(subnet).version)
            if family in nat:
                rule = ["POSTROUTING", "-s", subnet, "!", "-o", network.bridge, "-j", "MASQUERADE"]
                _there([FAMILIES[family], "-t", "nat"], rule, "-I")
    if not succeeds(["iptables", "-S", "DOCKER-USER"]):
        run(["iptables", "-N", "DOCKER-USER"])
    _there(["iptables"], ["DOCKER-USER", "-j", "RETURN"], "-A")
    _there(["iptables"], ["FORWARD", "-j", "DOCKER-USER"], "-I")


def _there(program: list[str], rule: list[str], how: str) -> None:
    if not succeeds([*program, "-C", *rule]):
        run([*program, how, *rule])


def user_rules() -> tuple[str, ...]:
    """Rules that users have put into DOCKER-USER.  Raises SetupError."""
    return tuple(rule for family in FAMILIES for rule in without_docker(saved(family), ()).users)
