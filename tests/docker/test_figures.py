"""`/services` beside those who made the traffic, and beside Prometheus's pages: http, tcp and UDP."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.exposition import Exposition, read
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]

# Milliseconds that the container takes for each answer of HTTP; one in FAILING is a 500.
TOOK, FAILING = 80, 10
SERVER = f"""
import http.server, itertools, socket, socketserver, threading, time
numbers = itertools.count(1)
class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer is one segment
    def do_GET(self):
        time.sleep({TOOK / 1000})
        self.send_response(500 if next(numbers) % {FAILING} == 0 else 200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\\n")
    def log_message(self, *_): pass
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
web = http.server.ThreadingHTTPServer(("0.0.0.0", 80), Web)
echo = socketserver.ThreadingTCPServer(("0.0.0.0", 7), Echo)
for server in (web, echo):
    threading.Thread(target=server.serve_forever).start()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 9))
print("all is up", flush=True)
while True:
    data, sender = udp.recvfrom(65535)
    udp.sendto(data, sender)
"""
LABELS = {
    "ServiceName": "web",
    "ServiceName.7": "bytes",
    "ProxyMode.7": "tcp",
    "ServiceName.9": "datagrams",
}
REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
WEB_CLIENTS = 6
# Seconds of traffic.  A UDP relay tells each 5 s what it counted, the first time also of what came before it
# was awake; the window of rates is 10 s.
WARM, WINDOW = 10.5, 10.0
NEAR = 0.02


class Load:
    """One client's traffic, an exchange each ``every`` seconds; ``moments``: when each began, and its ms."""

    def __init__(self, peer: socket.socket, question: bytes, every: float) -> None:
        self.moments: list[tuple[float, float]] = []
        self.received = self.failed = 0
        self._peer, self._question, self._every = peer, question, every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += self._every  # also where this one is late
            began = time.monotonic()
            self._peer.sendall(self._question)
            answer = self._peer.recv(65536)
            while answer.startswith(b"HTTP/1.1") and not answer.endswith(b"hello\n"):
                answer += self._peer.recv(65536)
            self.received += len(answer)
            self.failed += answer.startswith(b"HTTP/1.1 500")
            self.moments.append((began, 1000 * (time.monotonic() - began)))

    def end(self) -> None:
        self._stopped.set()
        self._thread.join(10)
        self._peer.close()


class Seen:
    """What was to be seen at the end of steady traffic, and what its clients did."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        datagrams = stack.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.connect(("127.0.0.1", 8403))
        connect = stack.host.connect
        self.loads = {
            "web": [Load(connect("127.0.0.1", 8401), REQUEST, 0.1) for _ in range(WEB_CLIENTS)],
            "bytes": [Load(connect("127.0.0.1", 8402), b"x" * 1000, 0.01)],
            "datagrams": [Load(datagrams, b"y" * 100, 0.01)],
        }
        until = time.monotonic() + WARM + WINDOW
        while time.monotonic() < until:
            self.document = self._look()
            self.moment = time.monotonic()
            time.sleep(0.5)  # as the page does
        for loads in self.loads.values():
            for load in loads:
                load.end()

    def _look(self) -> Any:
        return json.loads(self.stack.registrar.read("/services").text)

    def row(self, service: str) -> Any:
        return next(row for row in self.document["services"] if row["service"] == service)

    def rate(self, service: str) -> float:
        """Exchanges a second that the clients had."""
        moments = [moment for load in self.loads[service] for moment, _ in load.moments]
        return sum(self.moment - WINDOW < moment <= self.moment for moment in moments) / WINDOW

    def sent(self, service: str) -> int:
        return sum(len(load.moments) for load in self.loads[service])

    def percentile(self, percent: int) -> float:
        took = sorted(took for load in self.loads["web"] for _, took in load.moments)
        return took[min(len(took) * percent // 100, len(took) - 1)]

    def settles_at(self, service: str, **totals: int) -> None:
        """What has not been told yet comes with the next look at Envoy, and a relay's within 5 s."""

        def is_there() -> bool:
            self.document = self._look()
            found = self.row(service)["total"]
            assert {name: found[name] for name in totals} == totals
            return True

        eventually(is_there, 15, f"the totals of {service}", 0.2)


@pytest.fixture(scope="module")
def seen(artifact: Path) -> Iterator[Seen]:
    with Stack(artifact) as stack:
        ports = ("-p", "8401:80", "-p", "8402:7", "-p", "8403:9/udp")
        container = stack.dockerd.run_python("-c", SERVER, options=ports, labels=LABELS)
        eventually(lambda: "all is up" in stack.dockerd.docker("logs", container), 20, "the container serves")
        stack.binding(8401)
        stack.binding(8402)
        yield Seen(stack)


def near(found: float, real: float) -> bool:
    print(f"{found} of {real:.3f}")
    return abs(found - real) <= NEAR * real


def test_rates_are_those_of_the_clients(seen: Seen) -> None:
    assert not seen.document["warming"] and seen.document["window"] == WINDOW
    web, data, udp = seen.row("web"), seen.row("bytes"), seen.row("datagrams")
    assert near(web["requests"], seen.rate("web")) and web["connections"] == WEB_CLIENTS
    assert near(data["in"], 1000 * seen.rate("bytes")) and near(data["out"], data["in"])
    assert near(udp["packets_in"], seen.rate("datagrams")) and near(udp["packets_out"], udp["packets_in"])
    assert near(udp["in"], 100 * udp["packets_in"])


def test_success_and_percentiles_are_those_of_the_clients(seen: Seen) -> None:
    web = seen.row("web")
    assert near(web["success"], 1 - 1 / FAILING)
    assert near(web["p50"], seen.percentile(50))
    # Of its slowest a client measures its own pauses too, and those of more than the window.
    assert web["p50"] <= web["p95"] <= web["p99"] <= seen.percentile(100) * (1 + NEAR)


def test_totals_are_exact_and_those_of_prometheus(seen: Seen) -> None:
    web, data, udp = (seen.sent(service) for service in seen.loads)
    received = {service: sum(load.received for load in loads) for service, loads in seen.loads.items()}
    failed = sum(load.failed for load in seen.loads["web"])
    passed = {"bytes_in": len(REQUEST) * web, "bytes_out": received["web"]}
    seen.settles_at("web", requests=web, failed=failed, connects=WEB_CLIENTS, **passed)
    seen.settles_at("bytes", connects=1, bytes_in=1000 * data, bytes_out=received["bytes"])
    passed = {"bytes_in": 100 * udp, "bytes_out": received["datagrams"]}
    seen.settles_at("datagrams", packets_in=udp, packets_out=udp, **passed)
    envoy = seen.stack.envoy.admin("/stats/prometheus?usedonly")
    assert f'envoy_http_downstream_rq_total{{envoy_http_conn_manager_prefix="web-8401"}} {web}\n' in envoy
    name = 'envoy_tcp_downstream_cx_rx_bytes_total{envoy_tcp_prefix="bytes-8402"}'
    assert f"{name} {1000 * data}\n" in envoy
    own = read(seen.stack.registrar.read("/metrics").text)
    assert relayed(own, "in") == relayed(own, "out") == udp


def relayed(page: Exposition, direction: str) -> float:
    name = "envoy_docker_shim_udp_datagrams_total"
    return sum(
        value
        for (found, labels), value in page.samples.items()
        if found == name and ("direction", direction) in labels
    )


def test_the_history_has_it_all(seen: Seen) -> None:
    read = seen.stack.registrar.read
    ids = {seen.row(service)["id"]: service for service in seen.loads}
    assert set(json.loads(read("/services/history").text)["requests"]) == set(ids)
    for name, service in ids.items():
        series = json.loads(read(f"/services/history?id={name}").text)["series"]
        assert len(set(map(len, series.values()))) == 1
        highest = max(value or 0 for value in series["in"])
        assert highest > 0.9 * seen.row(service)["total"]["bytes_in"] / (WARM + WINDOW)
