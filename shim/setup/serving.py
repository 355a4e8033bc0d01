"""Waits until Envoy, or Docker's own proxies, serve the published ports."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any

from shim.core.setup.facts import Port
from shim.host.procfs import find_shims
from shim.setup.tools import SetupError, last_words
from shim.setup.wait import until

ENVOY_COMES, PORTS_COME = 20.0, 30.0  # seconds
ReadStatus = Callable[[], dict[str, Any]]  # the registrar's; raises whatever says that it is not there


def await_envoy(status: ReadStatus) -> None:
    """Raises SetupError with the reason where none comes."""

    def missing() -> str:
        try:
            envoys = status()["envoys"]
        except Exception as error:
            return str(error)
        return (
            ""
            if any(envoy["trusted"] for envoy in envoys)
            else f"no Envoy is connected; its unit says: {last_words('envoy.service')}"
        )

    until(missing, ENVOY_COMES)


def await_ports(
    ports: Iterable[Port],
    status: ReadStatus,
    published: Callable[[], Iterable[Port]],
    bound: float = PORTS_COME,
) -> None:
    """Until each of them is held by a shim and served.  Raises SetupError with those that are not.

    ``published`` asks Docker for those that it publishes by then: a container may end while it is waited for.
    """

    def missing(ports: Iterable[Port]) -> str:
        try:
            bindings = status()["bindings"]
        except Exception as error:
            return str(error)
        found = {(b["protocol"], b["address"], b["port"]): b for b in bindings}
        lines = [problem for port in ports if (problem := _unserved(port, found.get(port[:3])))]
        return "; ".join(lines)

    wanted = set(ports)
    try:
        until(lambda: missing(wanted), bound)
    except SetupError:
        still = wanted.intersection(published())
        if still == wanted:
            raise
        if left := missing(still):
            raise SetupError(f"after {bound:g} s still: {left}") from None


def _unserved(port: Port, binding: dict[str, Any] | None) -> str:
    if binding is None:
        return f"{port} at {port.ip} has no shim"
    if binding["state"] != "serving":
        why = "; ".join(binding["rejected_by"].values())
        return f"{port} at {port.ip} is {binding['state']}{': ' if why else ''}{why}"
    return "" if port.proto != "tcp" or _connects(port) else f"{port} at {port.ip} refuses"


def await_docker(ports: Iterable[Port]) -> None:
    """Until no shim is left, and each TCP port is answered.  Raises SetupError."""

    def missing() -> str:
        if shims := list(find_shims()):
            return f"{len(shims)} shims still hold ports"
        refused = [str(port) for port in ports if port.proto == "tcp" and not _connects(port)]
        return f"refused: {', '.join(refused)}" if refused else ""

    until(missing, PORTS_COME)


def _connects(port: Port) -> bool:
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(port.ip, port.ip)
    with contextlib.suppress(OSError):
        socket.create_connection((address, port.port), 1).close()
        return True
    return False
