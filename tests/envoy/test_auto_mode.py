"""Mode auto on a real Envoy: each connection by its first bytes, and who spoke first is counted.

That HTTP is served as in http mode, and all else as in tcp mode, is in test_http_mode.py and
test_tcp_mode.py.
"""

import re
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest

from shim.core.envoy.sniffing import ANSWERED_PAGE, SPOKE_FIRST_PAGE, WAIT, answered_http, spoke_first
from tests.builders import make_cluster, make_listener
from tests.envoy.serving import LOOPBACK, static_bootstrap
from tests.harness.backends import HttpEcho, TcpEcho
from tests.harness.clients import Address, connect, get, head, read_answer
from tests.harness.envoy import Envoy

pytestmark = pytest.mark.envoy

GREETING = b"220 speaks first\r\n"
WAITED = float(WAIT[:-1])
CLOCK = 0.01  # Envoy counts from its event loop's clock, which stands still while the loop works


class Served(NamedTuple):
    envoy: Envoy
    echo: Address  # waits for its client
    greets: Address
    web: Address


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with TcpEcho(LOOPBACK) as echo, TcpEcho(LOOPBACK, greeting=GREETING) as greets, HttpEcho(LOOPBACK) as web:
        backends = {"echo": echo.address, "greets": greets.address, "web": web.address}
        clusters = [make_cluster("auto", name, *address) for name, address in backends.items()]
        listeners = [
            make_listener("auto", name, LOOPBACK, 0, name, name, origin=f"0123456789ab-{name}")
            for name in backends
        ]
        with Envoy(tmp_path_factory.mktemp("envoy"), static_bootstrap(listeners, clusters)) as envoy:
            yield Served(envoy, **envoy.listeners())


def origins(envoy: Envoy) -> list[str]:
    return list(spoke_first(envoy.admin(SPOKE_FIRST_PAGE).splitlines()))


def passed(envoy: Envoy, name: str) -> int:
    """How many connections of this listener have been passed as bytes."""
    return envoy.stats(rf"^tcp\.{name}\.downstream_cx_total$").get(f"tcp.{name}.downstream_cx_total", 0)


@pytest.mark.parametrize(
    "first",
    [
        b"*1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b"GETRANGE k 0 1\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO example.test\r\n",
        b"OPTIONS sip:a@b SIP/2.0\r\n",
    ],
    ids=["redis", "redis inline", "like an HTTP method", "PostgreSQL", "TLS", "SSH", "SMTP", "SIP"],
)
def test_what_is_not_http_passes_without_a_wait(served: Served, first: bytes) -> None:
    began = time.monotonic()
    with connect(served.echo) as peer:
        peer.sendall(first)
        assert peer.recv(len(first), socket.MSG_WAITALL) == first
    assert time.monotonic() - began < WAITED
    assert passed(served.envoy, "echo") == 1
    assert origins(served.envoy) == []


def test_one_port_serves_http_and_bytes_side_by_side(served: Served) -> None:
    with connect(served.web) as silent, connect(served.web) as other:
        assert get(served.web).status == 200
        other.sendall(b"no HTTP at all\r\n\r\n")
        assert other.recv(1) != b"", "the container answers it in its own way"
        silent.sendall(head("GET", "/"))
        with silent.makefile("rb") as stream:
            assert read_answer(stream).status == 200
    text = served.envoy.admin("/stats/prometheus?usedonly")
    assert re.search(r'envoy_http_downstream_rq_total\{envoy_http_conn_manager_prefix="web"\} [1-9]', text)
    assert re.search(r'envoy_tcp_downstream_cx_total\{envoy_tcp_prefix="web"\} [1-9]', text)
    assert list(answered_http(served.envoy.admin(ANSWERED_PAGE).splitlines())) == ["web"]


def test_a_client_that_waits_gets_the_greeting_and_its_container_is_counted(served: Served) -> None:
    began = time.monotonic()
    with connect(served.greets) as peer:
        assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        assert WAITED - CLOCK < time.monotonic() - began < 10 * WAITED
        assert origins(served.envoy) == [], "until the client has answered nothing is known"
        peer.sendall(b"x")
        assert peer.recv(1) == b"x"
    assert origins(served.envoy) == ["0123456789ab-greets"]


def test_a_client_that_leaves_after_the_greeting_is_enough(served: Served) -> None:
    with connect(served.greets) as peer:
        assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
    served.envoy.wait_for(lambda: origins(served.envoy) == ["0123456789ab-greets"])


def test_no_silent_or_slow_client_makes_a_container_count_that_waits_for_it(served: Served) -> None:
    """Preconnects, health checks and scanners leave without a word; a slow client speaks late."""
    for turn in range(1, 4):
        with connect(served.web) as slow, connect(served.web), connect(served.echo) as other:
            served.envoy.wait_for(partial(has_waited, served.envoy, 3 * turn))
            slow.sendall(head("GET", "/"))
            with slow.makefile("rb") as stream:
                assert read_answer(stream).status == 200
            other.sendall(b"x")
            assert other.recv(1) == b"x"
    assert passed(served.envoy, "web") == 6, "they had waited too long for http"
    assert origins(served.envoy) == []


def has_waited(envoy: Envoy, connections: int) -> bool:
    found = envoy.stats(r"^listener\.(web|echo)\.downstream_pre_cx_timeout$")
    return sum(found.values()) == connections


def test_a_container_that_speaks_first_and_is_asked_by_http_has_not_answered_http(served: Served) -> None:
    """Nobody can make it look like a server of HTTP: what it says is none."""
    assert get(served.greets).status == 502
    assert list(answered_http(served.envoy.admin(ANSWERED_PAGE).splitlines())) == []
