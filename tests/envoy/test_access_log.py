"""The access log of a real Envoy: whole lines of JSON whatever clients send, and nobody is kept waiting."""

import contextlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shim.core.envoy.access_log import AccessLog, logged
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.listeners import second_listener
from shim.core.logs.entry import failed, parse
from tests.builders import make_cluster, make_listener
from tests.envoy.serving import LOOPBACK, make_service, static_bootstrap
from tests.harness.backends import FAREWELL, HttpEcho, TcpEcho
from tests.harness.clients import Address, connect, exchange, get
from tests.harness.envoy import Envoy
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy

GREETING = b"220 speaks first\r\n"
ODD = make_service('5%REQ(:PATH)% of "ö\\', "", "c-%1", "i@sha256:0%")


class Served(NamedTuple):
    envoy: Envoy
    log: Path
    at: dict[str, Address]

    def line(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The only line of which that is true, once it is there; every line of the file is a whole one."""

        def look() -> list[dict[str, Any]]:
            lines = [parse(line) for line in self.log.read_bytes().splitlines()]
            assert None not in lines
            return [dict(line) for line in lines if line is not None and wanted(dict(line))]

        (found,) = eventually(look, 10, f"a line in {self.log}")
        return found

    def of(self, peer: socket.socket) -> dict[str, Any]:
        """The line of this connection of ours."""
        port = peer.getsockname()[1]
        return self.line(lambda line: line["client.port"] == port)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("envoy")
    path = directory / "access.log"
    log = AccessLog(str(path), logged(make_service()))
    with contextlib.ExitStack() as stack:
        http = stack.enter_context(HttpEcho(LOOPBACK))
        tcp = stack.enter_context(TcpEcho(LOOPBACK, greeting=GREETING))
        closed = stack.enter_context(socket.socket())
        closed.bind((LOOPBACK, 0))
        clusters = [
            make_cluster("http", "web", LOOPBACK, http.port),
            make_cluster("tcp", "tcp", LOOPBACK, tcp.port),
            make_cluster("tcp", "refused", LOOPBACK, closed.getsockname()[1]),
        ]
        wanted = {
            "web": ("http", "web", log),
            "odd": ("http", "web", log._replace(service=logged(ODD))),
            "none": ("http", "gone", log),
            "tcp": ("tcp", "tcp", log),
            "tls": ("tcp", "tcp", log._replace(tls=True)),
            "auto": ("auto", "tcp", log._replace(tls=True)),
            "mixed": ("auto", "web", log._replace(tls=True)),
            "refused": ("tcp", "refused", log),
        }
        listeners = [
            make_listener(mode, name, LOOPBACK, 0, name, cluster, options=HttpOptions(log=its))
            for name, (mode, cluster, its) in wanted.items()
        ]
        args = ["--file-flush-interval-msec", "50"]
        envoy = stack.enter_context(Envoy(directory, static_bootstrap(listeners, clusters), args=args))
        yield Served(envoy, path, envoy.listeners())


def test_a_request_is_a_line_with_opentelemetrys_names(served: Served) -> None:
    get(served.at["web"], "/cart/7?token=%41&x", ["User-Agent: curl", "X-Request-Id: 42"])
    line = served.line(lambda line: line.get("url.path") == "/cart/7")
    assert line.pop("time").startswith("20") and line.pop("duration_ms") >= 0
    assert line.pop("client.port") > 1023 and line.pop("http.response.body.size") > 0
    assert line.pop("upstream.address").startswith(f"{LOOPBACK}:")
    assert line == {
        "client.address": LOOPBACK,
        "server.port": served.at["web"][1],
        "server.address": "example.test",
        "http.request.method": "GET",
        "url.path": "/cart/7",
        "url.query": "token=%41&x",
        "http.response.status_code": 200,
        "http.request.body.size": 0,
        "network.protocol": "HTTP/1.1",
        "user_agent.original": "curl",
        "http.request.id": "42",
        "response_flags": "-",
        "response_details": "via_upstream",
        "service.name": "web",
        "deployment.environment.name": "prod",
        "container.name": "web-1",
        "container.image.name": "shop/web:1.2",
    }


def test_a_connection_is_a_line_with_its_bytes(served: Served) -> None:
    with connect(served.at["tcp"]) as peer:
        assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        peer.sendall(b"x" * 1000)
        assert len(peer.recv(1000, socket.MSG_WAITALL)) == 1000
        peer.close()
        line = served.line(lambda line: line.get("bytes.received") == 1000)
    assert line["bytes.sent"] == 1000 + len(GREETING) + len(FAREWELL)
    assert (line["server.port"], line["service.name"], failed(line)) == (served.at["tcp"][1], "web", False)


@pytest.mark.parametrize("name", ["none", "refused"])
def test_what_could_not_be_passed_on_is_told_with_its_reason(served: Served, name: str) -> None:
    with connect(served.at[name]) as peer:
        if name == "none":
            peer.sendall(b"GET /lost HTTP/1.0\r\n\r\n")
        while peer.recv(1000):
            pass
        line = served.of(peer)
    assert failed(line)
    if name == "none":
        assert (line["http.response.status_code"], line["response_flags"]) == (503, "NC")
    else:
        assert "Connection_refused" in line["upstream.failure"]


HOSTILE = {
    "controls": b"GET /a\x00\x1b[31m\nb HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": b'{"time": "2026", "duration_ms": 1}\n' * 100,
    "agent": b'GET /h1 HTTP/1.1\r\nHost: x\r\nUser-Agent: "\\\xff\xfe\x80\t","service.name":"evil"}\r\n\r\n',
    "huge": b"GET /h2 HTTP/1.1\r\nHost: x\r\nUser-Agent: " + b"\xff" * 200_000 + b"\r\n\r\n",
    "path": b"GET /h3" + b'"\\%00%0a%1b' * 10_000 + b"?" + b'"' * 50_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "host": b'GET /h4 HTTP/1.1\r\nHost: "}\\u0000\r\n\r\n',
    "method": b'"\\\x01 /h5 HTTP/1.1\r\nHost: x\r\n\r\n',
    "id": b"GET /h6 HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + b"%REQ(HOST)%\x7f" * 1000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("request_", HOSTILE.values(), ids=list(HOSTILE))
def test_whatever_a_client_sends_it_is_one_line_of_bounded_length(served: Served, request_: bytes) -> None:
    with connect(served.at["web"]) as peer:
        with contextlib.suppress(ConnectionError):
            peer.sendall(request_)
            peer.recv(1000)
        line = served.of(peer)
    assert line["service.name"] == "web"
    assert max(map(len, served.log.read_bytes().splitlines())) < 40_000
    json.dumps(line).encode("ascii")


def test_what_labels_say_is_never_taken_for_envoys_format(served: Served) -> None:
    get(served.at["odd"], "/odd")
    line = served.line(lambda line: line.get("url.path") == "/odd")
    named = line["service.name"], line["container.name"], line["container.image.name"]
    assert named == (ODD.name, ODD.container, ODD.image)
    assert "deployment.environment.name" not in line


@pytest.mark.parametrize("name", ["tls", "auto"])
@pytest.mark.parametrize(
    ("offers", "told"),
    [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["acme-tls/1"], None), ([], None)],
)
def test_a_tls_connection_is_told_with_the_name_and_protocol_that_the_client_asked_for(
    served: Served, offers: list[str], told: str | None, name: str
) -> None:
    context = ssl.create_default_context()
    if offers:
        context.set_alpn_protocols(offers)
    with connect(served.at[name]) as peer:
        port = peer.getsockname()[1]
        # Nothing is terminated: what comes is the backend's greeting, which is no handshake.
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(peer, server_hostname="shop.example")
        line = served.line(lambda line: line["client.port"] == port)
    assert (line["tls.client.server_name"], line.get("tls.next_protocol")) == ("shop.example", told)


def test_mode_auto_logs_requests_and_connections_of_one_port_each_in_its_way(served: Served) -> None:
    get(served.at["mixed"], "/among-bytes")
    line = served.line(lambda line: line.get("url.path") == "/among-bytes")
    assert (line["http.response.status_code"], line["server.port"]) == (200, served.at["mixed"][1])
    with connect(served.at["auto"]) as peer:
        peer.sendall(b"no HTTP, no TLS\r\n")
        assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        peer.close()
        line = served.line(lambda line: line.get("bytes.received") == 17)
    assert "http.response.status_code" not in line and "tls.client.server_name" not in line


def greeted_after(address: Address) -> float:
    began = time.monotonic()
    with connect(address) as peer:
        assert peer.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
    return time.monotonic() - began


def test_a_log_keeps_no_client_waiting_for_a_server_that_speaks_first(served: Served) -> None:
    """Only who looks for the names in TLS handshakes waits for a silent client, and not for long."""
    assert min(greeted_after(served.at["tcp"]) for _ in range(5)) < 0.1
    assert 0.19 < min(greeted_after(served.at["tls"]) for _ in range(3)) < 1


def test_a_file_that_was_moved_away_is_made_anew_at_a_signal(served: Served) -> None:
    moved = served.log.with_suffix(".1")
    served.log.rename(moved)
    get(served.at["web"], "/before-the-signal")
    eventually(lambda: b"/before-the-signal" in moved.read_bytes())
    os.kill(served.envoy.pid, signal.SIGUSR1)
    eventually(served.log.exists)
    get(served.at["web"], "/after-the-signal")
    served.line(lambda line: line.get("url.path") == "/after-the-signal")
    assert b"/after-the-signal" not in moved.read_bytes()


def test_standard_output_is_a_place_too_and_a_second_listener_logs_as_the_first(tmp_path: Path) -> None:
    """The second listener keeps the client's address; it looks for the names in TLS handshakes too."""
    log = AccessLog("", logged(make_service()), tls=True)
    first = make_listener("tcp", "first", LOOPBACK, 0, "first", "tcp", options=HttpOptions(log=log))
    web = make_listener("http", "web", LOOPBACK, 0, "web", "web", options=HttpOptions(log=log))
    second = {**second_listener(first, 4711), "name": "second"}
    second.pop("transparent")  # which would need CAP_NET_ADMIN
    with HttpEcho(LOOPBACK) as http:
        cluster = make_cluster("http", "web", LOOPBACK, http.port)
        boot = static_bootstrap([first, web, second], [cluster])
        with Envoy(tmp_path, boot, args=["--file-flush-interval-msec", "50"]) as envoy:
            exchange(envoy.listeners()["web"], b"GET /out HTTP/1.0\r\n\r\n")
            eventually(lambda: '"url.path":"/out"' in envoy.log.read_text())
