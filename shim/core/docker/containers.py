"""What one element of Docker's ``GET /containers/json`` says, whatever it holds: nothing here raises."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shim.core.binding import Address

Container = Mapping[str, Any]


class Port(NamedTuple):
    """A port of a container, as its programs know it; not the host's."""

    number: int
    proto: str

    def __str__(self) -> str:
        return f"{self.number}/{self.proto}"


def labels_of(container: Container) -> dict[str, str]:
    """Every label whose value is a text, as all are that Docker sends."""
    return {k: v for k, v in _mapping(container.get("Labels")).items() if isinstance(v, str)}


def name_of(container: Container) -> str:
    """The container's first name without Docker's slash, or an empty text."""
    names = container.get("Names") or []
    return str(names[0]).lstrip("/") if isinstance(names, list) and names else ""


def addresses_of(container: Container) -> set[str]:
    """Every IP address that the container has."""
    networks = _mapping(_mapping(container.get("NetworkSettings")).get("Networks"))
    found = set()
    for network in networks.values():
        for key in ("IPAddress", "GlobalIPv6Address"):
            address = _mapping(network).get(key)
            if isinstance(address, str) and address:
                found.add(address)
    return found


def published_by(container: Container) -> set[tuple[str, int]]:
    """Every (protocol, host port) that Docker says the container publishes."""
    return {(str(port.get("Type")), port["PublicPort"]) for port in _published(container)}


def ports_of(container: Container) -> set[Port]:
    """The container's ports that are published."""
    return {
        Port(port["PrivatePort"], str(port.get("Type")))
        for port in _published(container)
        if type(port.get("PrivatePort")) is int
    }


def publications(container: Container) -> set[tuple[Address, int]]:
    """Every published address, with the container's port behind it."""
    return {
        (Address(str(port.get("Type")), str(port.get("IP")), port["PublicPort"]), port["PrivatePort"])
        for port in _published(container)
        if type(port.get("PrivatePort")) is int
    }


def _published(container: Container) -> Iterator[Mapping[str, Any]]:
    ports = container.get("Ports")
    for port in ports if isinstance(ports, list) else ():
        if isinstance(port, Mapping) and type(port.get("PublicPort")) is int:
            yield port


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
