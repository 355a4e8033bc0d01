"""What Docker's API says of this host: version, settings, containers, networks, Swarm's ports."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from shim.core.binding import PROTOCOLS, Address
from shim.core.docker.containers import addresses_of, name_of
from shim.core.doctor.facts import Container, Docker, Ingress, Network, Published, Unknown
from shim.core.endpoint import Endpoint
from shim.doctor import processes
from shim.doctor.asking import asked, looked, page
from shim.host.tcp_sockets import listening

# Containers that are looked at at the same time.
TOGETHER = 8
BRIDGE_NAME = "com.docker.network.bridge.name"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv4"  # nat, nat-unprotected, routed, isolated
PORT = 2375


def endpoint_of(docker_host: str) -> Endpoint:
    """Where that is: ``unix:///path`` or ``tcp://host:port``."""
    if docker_host.startswith("unix://"):
        return Endpoint(path=docker_host.removeprefix("unix://"))
    parts = urlsplit(docker_host)
    return Endpoint(parts.hostname or "", parts.port or PORT)


async def published(docker_host: str) -> "list[Published] | Unknown":
    """Every published port of every running container: the quick question, for `status`."""
    server = endpoint_of(docker_host)
    if why := await _not_to_be_asked(server):
        return why
    listing = await asked(lambda: page(server, "/containers/json"))
    if isinstance(listing, Unknown):
        return listing
    return [port for container in _mappings(listing) for port in _published(container)]


async def look(docker_host: str) -> "Docker | Unknown":
    """All of it; Unknown where Docker does not answer."""
    server = endpoint_of(docker_host)
    if why := await _not_to_be_asked(server):
        return why
    answers: dict[str, Any] = {}

    async def ask(target: str) -> None:
        answers[target] = await asked(lambda: page(server, target))

    async with trio.open_nursery() as nursery:
        for target in ("/version", "/info", "/containers/json", "/networks"):
            nursery.start_soon(ask, target)
    for answer in answers.values():
        if isinstance(answer, Unknown):
            return answer
    info = answers["/info"]
    manager = bool((info.get("Swarm") or {}).get("ControlAvailable"))
    services = await asked(lambda: page(server, "/services")) if manager else []
    containers = await _containers(server, _mappings(answers["/containers/json"]))
    used = frozenset[str]().union(*(networks for _, networks in containers))
    return Docker(
        version=_version(str(answers["/version"].get("Version"))),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        containers=tuple(container for container, _ in containers if container.published),
        networks=tuple(_networks(_mappings(answers["/networks"]), used)),
        ingress=() if isinstance(services, Unknown) else tuple(_ingress(_mappings(services))),
    )


async def _not_to_be_asked(server: Endpoint) -> Unknown | None:
    """Where systemd listens for a dockerd, a connection would start one that somebody has stopped."""
    if not server.path:
        return None
    running = await looked(lambda: processes.named("dockerd"))
    return None if running else Unknown("no dockerd runs on this host")


async def _containers(
    server: Endpoint, listing: list[Mapping[str, Any]]
) -> list[tuple[Container, frozenset[str]]]:
    found: list[tuple[Container, frozenset[str]]] = []
    limit = trio.CapacityLimiter(TOGETHER)

    async def one(container: Mapping[str, Any]) -> None:
        ports = tuple(_published(container))
        networks = frozenset((container.get("NetworkSettings") or {}).get("Networks") or {})
        listens: frozenset[tuple[str, int]] | Unknown = frozenset()
        if ports:
            async with limit:
                listens = await asked(lambda: _listens(server, str(container.get("Id"))))
        ips = frozenset(addresses_of(container))
        found.append((Container(name_of(container), ips, networks, ports, listens), networks))

    async with trio.open_nursery() as nursery:
        for container in listing:
            nursery.start_soon(one, container)
    return sorted(found, key=lambda pair: pair[0].name)


async def _listens(server: Endpoint, identity: str) -> frozenset[tuple[str, int]]:
    """The listening sockets in a container's network namespace.  Raises OSError, ValueError."""
    pid = int((await page(server, f"/containers/{identity}/json"))["State"]["Pid"])
    sockets = await trio.to_thread.run_sync(listening, Path(f"/proc/{pid}"), abandon_on_cancel=True)
    return frozenset((found.ip, found.port) for found in sockets)


def _published(container: Mapping[str, Any]) -> list[Published]:
    found = set()
    for port in _mappings(container.get("Ports")):
        public, kind, ip = port.get("PublicPort"), str(port.get("Type")), str(port.get("IP") or "")
        if public and ip and kind in PROTOCOLS:
            found.add(Published(Address(kind, ip, int(public)), name_of(container), int(port["PrivatePort"])))
    return sorted(found)


def _networks(listing: list[Mapping[str, Any]], used: frozenset[str]) -> list[Network]:
    found = []
    for network in listing:
        if network.get("Driver") != "bridge":
            continue
        options = network.get("Options") or {}
        name = str(network.get("Name"))
        configs = _mappings((network.get("IPAM") or {}).get("Config"))
        subnets = [str(config.get("Subnet")) for config in configs]
        found.append(
            Network(
                name,
                str(options.get(BRIDGE_NAME) or f"br-{str(network.get('Id'))[:12]}"),
                tuple(subnet for subnet in subnets if ":" not in subnet and "/" in subnet),
                bool(network.get("Internal")),
                str(options.get(MASQUERADE, "true")).lower() != "false"
                and str(options.get(GATEWAY_MODE, "nat")).startswith("nat"),
                name in used,
            )
        )
    return found


def _ingress(services: list[Mapping[str, Any]]) -> list[Ingress]:
    found = []
    for service in services:
        name = str((service.get("Spec") or {}).get("Name"))
        for port in _mappings((service.get("Endpoint") or {}).get("Ports")):
            if port.get("PublishMode") == "ingress" and port.get("PublishedPort"):
                found.append(Ingress(name, int(port["PublishedPort"])))
    return found


def _version(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [thing for thing in value if isinstance(thing, Mapping)] if isinstance(value, list) else []
