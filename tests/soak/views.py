"""What Docker, the registrar and Envoy each say is published where: one line a port, to be compared."""

from collections.abc import Iterator
from typing import Any

from shim.core.binding import Address, Backend, Binding
from tests.harness.stack import Stack
from tests.soak.specs import flatten


def docker_view(stack: Stack) -> set[str]:
    found = set()
    for container in stack.dockerd.api("/containers/json"):
        settings = stack.dockerd.api(f"/containers/{container['Id']}/json")["NetworkSettings"]
        (network,) = settings["Networks"].values()
        for inner, ip, port in flatten(settings["Ports"]):
            number, proto = inner.split("/")
            found.add(_line(proto, ip, port, network["IPAddress"], int(number)))
    return found


def proxies_view(stack: Stack) -> set[str]:
    """The processes that dockerd has running."""
    found = set()
    for argv in stack.dockerd.proxies().values():

        def value(flag: str, argv: list[str] = argv) -> str:
            return argv[argv.index(flag) + 1]

        published = value("-proto"), value("-host-ip"), int(value("-host-port"))
        found.add(_line(*published, value("-container-ip"), int(value("-container-port"))))
    return found


def registrar_view(stack: Stack) -> set[str]:
    """A binding that is not served shows with its state, and so equals nothing that Docker says."""
    found = set()
    for binding in stack.registrar.bindings():
        ip, _, number = binding["backend"].rpartition(":")
        line = _line(binding["protocol"], binding["address"], binding["port"], ip, int(number))
        found.add(line if binding["state"] == "serving" else f"{line} ({binding['state']})")
    return found


def envoy_view(stack: Stack) -> set[str]:
    """Its listeners, and what their clusters lead to; TCP only, UDP does not go through it."""
    bound = stack.envoy.listeners()
    hosts: dict[str, list[dict[str, Any]]] = {
        cluster["name"]: [host["address"]["socket_address"] for host in cluster.get("host_statuses", [])]
        for cluster in stack.envoy.admin_json("/clusters?format=json")["cluster_statuses"]
    }
    found = set()
    dump = stack.envoy.admin_json("/config_dump?resource=dynamic_listeners")
    for listener in dump.get("configs", []):
        name = listener["name"]
        if set(listener) == {"@type", "name", "draining_state"}:
            continue  # gone, but for the connections that it had
        if "error_state" in listener or "active_state" not in listener or name not in bound:
            found.add(f"{name} (not active: {sorted(listener)})")
            continue
        for cluster in set(_values("cluster", listener["active_state"])):
            for host in hosts.get(cluster, []):
                ip, port = bound[name]
                found.add(_line("tcp", ip, port, host["address"], host["port_value"]))
    return found


def envoy_clusters(stack: Stack) -> set[str]:
    """Those that came from the registrar."""
    dump = stack.envoy.admin_json("/config_dump?resource=dynamic_active_clusters")
    return {entry["cluster"]["name"] for entry in dump.get("configs", [])}


def differences(stack: Stack) -> list[str]:
    """Empty when all say the same."""
    docker = docker_view(stack)
    tcp = {line for line in docker if line.startswith("tcp/")}
    clusters = {b["cluster"] for b in stack.registrar.bindings() if b["protocol"] == "tcp"}
    return [
        *_compare("dockerd's processes", proxies_view(stack), docker),
        *_compare("the registrar", registrar_view(stack), docker),
        *_compare("Envoy's listeners", envoy_view(stack), tcp),
        *_compare("Envoy's clusters", envoy_clusters(stack), clusters, "the registrar"),
    ]


def _compare(who: str, seen: set[str], wanted: set[str], reference: str = "Docker") -> Iterator[str]:
    yield from (f"{who}: {line}, unknown to {reference}" for line in sorted(seen - wanted))
    yield from (f"{who}: lacks {line}" for line in sorted(wanted - seen))


def _line(proto: str, ip: str, port: int, backend_ip: str, backend_port: int) -> str:
    return str(Binding(Address(proto, ip, port), Backend(backend_ip, backend_port)))


def _values(key: str, document: object) -> Iterator[str]:
    """Every text that is found under ``key``, however deep."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key and isinstance(value, str):
                yield value
            yield from _values(key, value)
    elif isinstance(document, list):
        for value in document:
            yield from _values(key, value)
