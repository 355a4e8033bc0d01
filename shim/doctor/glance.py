"""The few questions of `status` to the host, beside those to the registrar: quick, and with less right."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import trio

from shim.core.binding import Address
from shim.core.doctor.facts import CannotTell, Published, Rules, Unknown, known
from shim.core.doctor.of_docker import without_shim
from shim.core.doctor.of_rules import dropped, past_envoy
from shim.doctor import docker, kernel
from shim.doctor.asking import BOUND, looked
from shim.host.procfs import Shim, find_shims
from shim.registrar.firewall.programs import Programs

# Between two looks at a container that may just be starting or stopping (seconds).
PAUSE = 0.3


class Glance(NamedTuple):
    """What was seen."""

    published: "list[Published] | Unknown"
    shims: tuple[Shim, ...]
    rules: Rules
    interfaces: tuple[str, ...]


async def glance(docker_host: str) -> Glance:
    """Docker's published ports, the shims, and the firewall's rules."""
    found: dict[str, Any] = {}

    async def ask_rules() -> None:
        found["rules"] = await kernel.rules(Programs(), BOUND)

    async def ask_ports() -> None:
        found["published"], found["shims"] = await _ports(docker_host)
        if _without(found):
            # A container that starts or stops has its ports and its shims not at the same moment.
            await trio.sleep(PAUSE)
            found["published"], found["shims"] = await _ports(docker_host)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_rules)
        nursery.start_soon(ask_ports)
    return Glance(interfaces=kernel.interfaces(), **found)


async def _ports(docker_host: str) -> "tuple[list[Published] | Unknown, tuple[Shim, ...]]":
    published = await docker.published(docker_host)
    shims = await looked(lambda: tuple(find_shims()))
    return published, () if isinstance(shims, Unknown) else shims


def _without(found: Mapping[str, Any]) -> list[Published]:
    if isinstance(found["published"], Unknown):
        return []
    return without_shim(found["published"], (shim.binding.address for shim in found["shims"]))


def as_report(seen: Glance, bindings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `status` says of the host, in its JSON: docs/reference.md explains the fields."""
    bindings = list(bindings)
    unseen = []
    report: dict[str, Any] = {"without_shim": [], "dropped": [], "past_envoy": []}
    held = [Address(*shim.binding.address) for shim in seen.shims]
    if isinstance(seen.published, Unknown):
        unseen.append(f"whether every published port has a shim: Docker: {seen.published.why}")
    else:
        report["without_shim"] = [
            {"address": str(port.address), "container": port.container}
            for port in without_shim(seen.published, held)
        ]
    try:
        for at, ports in dropped(known(seen.rules.tables), seen.interfaces, bindings).items():
            report["dropped"].append({"table": at.table, "chain": at.chain, "ports": ports})
        report["past_envoy"] = past_envoy(seen.rules, bindings)
    except CannotTell as why:
        unseen.append(f"what the firewall does with clients: {why}")
    return {**report, "not_checked": unseen}
