"""docker-proxy's own TCP cases, against the built file: bytes and half-closes through Envoy's tcp mode.

After moby's cmd/docker-proxy/network_proxy_linux_test.go.  There is no Docker here: after ten seconds without
its labels the registrar serves a port in its default mode, so all ports are waited for together.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.conftest import cannot
from tests.harness.backends import FAREWELL, TcpEcho
from tests.harness.clients import Address
from tests.harness.envoy import Envoy
from tests.harness.host import Host
from tests.harness.proxy import Proxy, bound_socket, flags, refusal, start_proxy
from tests.harness.registrar import HostRegistrar
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy

BUFFALO = b"Buffalo1 buffalo2 Buffalo3 buffalo4 buffalo5 buffalo6 Buffalo7 buffalo8"
V4, V6 = "127.0.0.1", "::1"


class Case(NamedTuple):
    host: Address
    container: Address
    passed: bool  # as engine >= 28 does: a listening socket on descriptor 4


CASES = {
    "IPv4 with fd 4": Case((V4, 25001), (V4, 7), True),
    "IPv4 without fd 4": Case((V4, 25002), (V4, 7), False),
    "IPv6 with fd 4": Case((V6, 25003), (V6, 7), True),
    "IPv6 without fd 4": Case((V6, 25004), (V6, 7), False),
    "IPv6 to an IPv4 container": Case((V6, 25005), (V4, 7), True),
    "any IPv4 address": Case(("0.0.0.0", 25006), (V4, 7), True),
    "any IPv6 address": Case(("::", 25006), (V4, 7), True),
}

TO_BE_STOPPED = Case((V4, 25010), (V4, 7), True)


class Served(NamedTuple):
    host: Host
    registrar: HostRegistrar
    stopped: Proxy


@pytest.fixture(scope="module")
def served(artifact: Path) -> Iterator[Served]:
    if os.geteuid():
        cannot("not root")
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(Host())
        registrar = HostRegistrar(
            host, artifact, f"unix://{host.dir}/no-docker.sock", {"default_mode": "tcp"}
        )
        boot = yaml.safe_load(registrar.command("bootstrap").stdout)
        for address in (V4, V6):
            stack.enter_context(host.call(TcpEcho, address, 7))
        registrar.start()
        stack.callback(registrar.end)
        admin = partial(host.connect, "127.0.0.1", 9901)
        stack.enter_context(Envoy(host.dir / "envoy", boot, prefix=host.argv(), connect=admin))
        for case in (*CASES.values(), TO_BE_STOPPED):
            stopped = stack.enter_context(start(host, artifact, registrar.env, case))
        eventually(lambda: states(registrar) == {"serving"}, 20, "all ports are served")
        yield Served(host, registrar, stopped)


def start(host: Host, artifact: Path, env: dict[str, str], case: Case) -> Proxy:
    args = flags("tcp", case.host, case.container)
    if not case.passed:
        return host.call(start_proxy, artifact, args, env=env)
    with host.call(bound_socket, "tcp", case.host) as listen:
        return host.call(start_proxy, artifact, args, listen, env=env)


def states(registrar: HostRegistrar) -> set[str]:
    return {binding["state"] for binding in registrar.bindings()}


def reach(served: Served, case: Case) -> socket.socket:
    ip = {"0.0.0.0": V4, "::": V6}.get(case.host[0], case.host[0])
    return served.host.connect(ip, case.host[1])


def receive(peer: socket.socket, size: int | None = None) -> bytes:
    """So many bytes, or all up to the end.  (MSG_WAITALL does not wait on a socket with a timeout.)"""
    received = b""
    while (size is None or len(received) < size) and (data := peer.recv(65536)):
        received += data
    return received


@pytest.mark.parametrize("name", CASES)
def test_bytes_are_echoed(served: Served, name: str) -> None:
    with reach(served, CASES[name]) as peer:
        peer.sendall(BUFFALO)
        assert receive(peer, len(BUFFALO)) == BUFFALO


@pytest.mark.parametrize("name", CASES)
def test_a_clients_half_close_reaches_the_server_and_its_answer_still_returns(
    served: Served, name: str
) -> None:
    """The server speaks once more when it has seen the end."""
    with reach(served, CASES[name]) as peer:
        peer.sendall(BUFFALO)
        peer.shutdown(socket.SHUT_WR)
        assert receive(peer) == BUFFALO + FAREWELL


def test_envoy_serves_beside_every_held_port_and_nobody_else_can(served: Served) -> None:
    for case in CASES.values():
        with served.host.socket(socket.AF_INET6 if ":" in case.host[0] else socket.AF_INET) as stranger:
            with pytest.raises(OSError, match="Address already in use"):
                stranger.bind(case.host)


def test_a_stopped_proxys_port_can_be_listened_on_at_once(served: Served) -> None:
    """As dockerd 28 does for the next container; clients' connections may still be open."""
    with reach(served, TO_BE_STOPPED) as peer:
        peer.sendall(BUFFALO)
        assert receive(peer, len(BUFFALO)) == BUFFALO
        assert served.stopped.stop() == 0
        served.host.call(bound_socket, "tcp", TO_BE_STOPPED.host).close()
        peer.sendall(BUFFALO)
        assert receive(peer, len(BUFFALO)) == BUFFALO


@pytest.mark.parametrize("ip", [V4, V6])
def test_a_taken_port_is_refused_at_once_where_the_registrar_knows_that_it_is_not_envoys(
    artifact: Path, served: Served, ip: str
) -> None:
    taken = (ip, 25100)
    with served.host.call(bound_socket, "tcp", taken):
        began = time.monotonic()
        args = flags("tcp", taken, (V4, 7))
        text = served.host.call(refusal, artifact, args, env=served.registrar.env)
        assert time.monotonic() - began < 1.5
    shown = f"[{ip}]" if ":" in ip else ip
    assert text == f"listen tcp {shown}:25100: bind: address already in use"
