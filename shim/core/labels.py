"""From what Docker says of a container to how its ports are named and served."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from shim.core.binding import Backend, Binding, Service

MODES = ("http", "tcp")
# Longer names help nobody, and each is in every listener, span and metric.
NAME_LIMIT = 96
# Host addresses that a name leaves out: a service seldom has replicas on two of these.
_EVERYBODYS = frozenset(("0.0.0.0", "::", "127.0.0.1", "::1"))

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def printable(text: str, limit: int = NAME_LIMIT) -> str:
    """``text`` as one line of printable characters, cut to ``limit``."""
    return "".join(c if c.isprintable() else " " for c in text[: 4 * limit]).strip()[:limit].strip()


def stat_name(text: str) -> str:
    """``text`` with only [A-Za-z0-9_-]: a dot would break the labels of Envoy's Prometheus page."""
    return "".join(c if c in _ALLOWED else "_" for c in printable(text))


def default_service(backend: Backend, mode: str) -> Service:
    """What a port is called when Docker cannot say whose it is."""
    return Service(backend.ip, "", mode, "", "")


def service_of(container: Mapping[str, Any], default_mode: str) -> Service:
    """The service of one element of ``GET /containers/json``.

    ServiceName, else the Compose service (with the project as environment), else the container's
    name.  Whatever the labels hold, the result can be used as it is: nothing here raises.
    """
    labels = {k: v for k, v in _mapping(container.get("Labels")).items() if isinstance(v, str)}
    names = container.get("Names") or []
    name = str(names[0]).lstrip("/") if isinstance(names, list) and names else ""
    identity = str(container.get("Id") or "")
    environment = labels.get("EnvironmentName", "")
    service = printable(labels.get("ServiceName", ""))
    if not service:
        service = printable(labels.get("com.docker.compose.service", ""))
        if service and not environment:
            environment = labels.get("com.docker.compose.project", "")
    mode, problem = _mode(labels.get("ProxyMode", ""), default_mode)
    return Service(
        name=service or printable(name) or printable(identity[:12]) or "unknown",
        environment=printable(environment),
        mode=mode,
        container=printable(name),
        image=printable(str(container.get("Image") or "")),
        container_id=printable(identity[:12]),
        problem=problem,
    )


def _mode(label: str, default: str) -> tuple[str, str]:
    wanted = label.strip().lower()
    if not wanted:
        return default, ""
    if wanted in MODES:
        return wanted, ""
    return "http", f"label ProxyMode={printable(label)!r} is neither http nor tcp: served as http"


def describe(service: Service) -> str:
    """One line for the log."""
    environment = f" ({service.environment})" if service.environment else ""
    return f"{service.name}{environment}, {service.mode}, container {service.container or 'unknown'}"


def addresses_of(container: Mapping[str, Any]) -> set[str]:
    """Every IP address that a container of ``GET /containers/json`` has."""
    networks = _mapping(_mapping(container.get("NetworkSettings")).get("Networks"))
    found = set()
    for network in networks.values():
        for key in ("IPAddress", "GlobalIPv6Address"):
            address = _mapping(network).get(key)
            if isinstance(address, str) and address:
                found.add(address)
    return found


def published_by(container: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Every (protocol, host port) that Docker says a container publishes."""
    ports = container.get("Ports")
    return {
        (str(port.get("Type")), port["PublicPort"])
        for port in (ports if isinstance(ports, list) else [])
        if isinstance(port, Mapping) and type(port.get("PublicPort")) is int
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def cluster_names(service: Service, binding: Binding) -> Iterator[str]:
    """What a cluster may be called, best first: ``web-dev-8080``, and with the backend if that is taken.

    The port is the host's: it tells the replicas of a service on one host apart.  So does its
    address, unless it is everybody's.  It is part of the name whether there are replicas or not: a
    name must not depend on who came first, or after a registrar's restart it is another's.
    """
    ip, port = binding.address.ip, binding.address.port
    own = "" if ip in _EVERYBODYS else stat_name(ip)
    parts = [stat_name(service.name), stat_name(service.environment), own, str(port)]
    plain = "-".join(part for part in parts if part)
    yield plain
    longer = f"{plain}-{stat_name(binding.backend.ip)}-{binding.backend.port}"
    yield longer
    # Somebody else's plain name may look just like that.
    for number in itertools.count(2):
        yield f"{longer}-{number}"
