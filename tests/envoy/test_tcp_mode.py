"""Tcp mode on a real Envoy: bytes, half-closes and resets pass as they come.

So it is in mode auto for clients that speak something else than HTTP, or wait for their container to speak.
"""

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builders import make_cluster, make_listener
from tests.envoy.serving import LOOPBACK, static_bootstrap
from tests.harness.backends import FAREWELL, TcpEcho, ThreadedServer
from tests.harness.clients import Address, connect
from tests.harness.envoy import Envoy

pytestmark = pytest.mark.envoy

GREETING = b"220 speaks first\r\n"
LINGER_RESET = struct.pack("ii", 1, 0)


class ClosesFirst(ThreadedServer):
    """Half-closes after its greeting, then tells what it has received by resetting unless that was all."""

    def __init__(self, host: str) -> None:
        self.received = b""
        super().__init__(host)

    def serve(self, peer: socket.socket) -> None:
        peer.sendall(GREETING)
        peer.shutdown(socket.SHUT_WR)
        while data := peer.recv(100):
            self.received += data


class Resets(ThreadedServer):
    """Resets the connection at the first byte."""

    def serve(self, peer: socket.socket) -> None:
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)


class Served(NamedTuple):
    envoy: Envoy
    closes_first: ClosesFirst
    echo: Address
    first: Address
    resets: Address
    refused: Address
    six: Address


@pytest.fixture(scope="module", params=["tcp", "auto"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    mode: str = request.param
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(TcpEcho(LOOPBACK, greeting=GREETING))
        first = ClosesFirst(LOOPBACK)
        stack.enter_context(first)
        resets = stack.enter_context(Resets(LOOPBACK))
        closed = stack.enter_context(socket.socket())
        closed.bind((LOOPBACK, 0))
        backends: dict[str, Address] = {
            "echo": echo.address,
            "first": first.address,
            "resets": resets.address,
            "refused": (LOOPBACK, closed.getsockname()[1]),
        }
        clusters = [make_cluster(mode, name, ip, port) for name, (ip, port) in backends.items()]
        listeners = [make_listener(mode, name, LOOPBACK, 0, name, name) for name in backends]
        listeners.append(make_listener(mode, "six", "::1", 0, "six", "echo"))
        directory = tmp_path_factory.mktemp("envoy")
        envoy = stack.enter_context(Envoy(directory, static_bootstrap(listeners, clusters)))
        yield Served(envoy, first, **envoy.listeners())


def receive_all(peer: socket.socket) -> bytes:
    received = b""
    while data := peer.recv(65536):
        received += data
    return received


@pytest.mark.parametrize("name", ["echo", "six"], ids=["IPv4", "IPv6 to an IPv4 container"])
def test_after_the_clients_half_close_the_answer_still_comes_whole(served: Served, name: str) -> None:
    data = bytes(range(256)) * 100
    with connect(getattr(served, name)) as peer:
        assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        assert receive_all(peer) == data + FAREWELL


def test_after_the_backends_half_close_the_client_can_still_send(served: Served) -> None:
    with connect(served.first) as peer:
        assert receive_all(peer) == GREETING
        peer.sendall(b"still there?")
    served.envoy.wait_for(lambda: served.closes_first.received == b"still there?")


def test_a_reset_reaches_the_client_as_one(served: Served) -> None:
    with connect(served.resets) as peer:
        peer.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            receive_all(peer)


def test_a_backend_that_refuses_ends_the_connection_at_once(served: Served) -> None:
    with connect(served.refused) as peer:
        assert receive_all(peer) == b""


def test_many_more_connections_than_envoys_default_limit_are_held_at_once(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(served.echo)) for _ in range(1100)]
        for peer in peers:
            assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING


def test_both_sides_have_keepalive_since_there_is_no_idle_timeout(served: Served) -> None:
    """Seen in the kernel's own table of Envoy's sockets: the keepalive timer (2) is armed on both."""
    with connect(served.echo) as peer:
        peer.recv(len(GREETING), socket.MSG_WAITALL)
        client = peer.getsockname()[1]
        listener, backend = served.echo[1], served.envoy
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        down = [
            row for row in table if row[1].endswith(f":{listener:04X}") and row[2].endswith(f":{client:04X}")
        ]
        assert [row[5].split(":")[0] for row in down] == ["02"]
        cluster_port = endpoint_port(backend, "echo")
        up = [row for row in table if row[2].endswith(f":{cluster_port:04X}") and row[3] == "01"]
        assert {row[5].split(":")[0] for row in up} == {"02"}


def endpoint_port(envoy: Envoy, name: str) -> int:
    found = re.search(rf"^{name}::[\d.]+:(\d+)::", envoy.admin("/clusters"), re.MULTILINE)
    assert found
    return int(found[1])


def test_prometheus_tells_services_apart(served: Served) -> None:
    with connect(served.echo) as peer:
        peer.shutdown(socket.SHUT_WR)
        receive_all(peer)
    text = served.envoy.admin("/stats/prometheus?usedonly")
    assert re.search(r'envoy_tcp_downstream_cx_total\{envoy_tcp_prefix="echo"\} [1-9]', text)
    assert re.search(r'envoy_tcp_downstream_cx_tx_bytes_total\{envoy_tcp_prefix="echo"\} [1-9]', text)
    assert re.search(r'envoy_cluster_upstream_cx_total\{envoy_cluster_name="echo"\} [1-9]', text)
    assert re.search(r'envoy_cluster_upstream_cx_connect_fail\{envoy_cluster_name="refused"\} [1-9]', text)
