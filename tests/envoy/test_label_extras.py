"""What labels ask for besides a mode, from their texts to a real Envoy: spans and timeouts of one port."""

import contextlib
import json
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.core.docker.containers import Port
from shim.core.docker.labels import service_of, serving_of
from shim.core.endpoint import Endpoint
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.json import Json
from shim.core.envoy.modes import MODES, Serving
from shim.core.envoy.templates import Templates
from shim.core.envoy.tracing import Collector
from tests.builders import make_binding, make_cluster
from tests.envoy.serving import LOOPBACK, static_bootstrap
from tests.harness.backends import HttpEcho, TcpEcho
from tests.harness.clients import Address, connect, get, head, read_answer
from tests.harness.collectors import OtlpCollector, Span
from tests.harness.envoy import Envoy
from tests.harness.fake_dockerd import make_container

pytestmark = pytest.mark.envoy

SHORT = 0.3  # seconds, the timeouts below
IDLE, REQUEST = {"IdleTimeout": "300ms"}, {"RequestTimeout.80": "0.3s"}
LABELS = {
    "plain": {},
    "idle": IDLE,
    "request": REQUEST,
    "untraced": {"Tracing": "off"},
    "none": {"Sampling": "0"},
    "all": {"Sampling.80/tcp": "100"},
    "tcp": {"ProxyMode": "tcp"},
    "tcp-idle": {"ProxyMode": "tcp", **IDLE},
    # What is about requests does nothing to bytes.
    "tcp-request": {"ProxyMode": "tcp", **REQUEST, "Sampling": "1", "Tracing": "off"},
}


class Served:
    def __init__(self, envoy: Envoy, http: HttpEcho, collector: OtlpCollector) -> None:
        self.envoy, self.http, self.collector = envoy, http, collector
        self.at: dict[str, Address] = envoy.listeners()

    def spans(self, path: str) -> list[Span]:
        """Those of a path, once that of a later request on a traced port has come."""
        get(self.at["all"], f"{path}/after")
        self.collector.wait_for(lambda spans: [s for s in spans if f"{path}/after" in s.tags["http.url"]])
        return [span for span in self.collector.spans if span.tags["http.url"].endswith(path)]


def listener(name: str, labels: dict[str, str], options: HttpOptions) -> Json:
    container = make_container(name, labels=labels)
    port = Port(80, "tcp")
    serving = serving_of(container, Serving(MODES["http"]), port)
    assert not serving.problem
    binding = make_binding(port=0, ip=LOOPBACK)
    cluster = "echo" if serving.mode.name == "tcp" else "web"
    made = Templates(options).listener(binding, cluster, service_of(container, port), serving)
    return {**json.loads(b"".join(made)), "name": name}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with contextlib.ExitStack() as stack:
        http, echo, collector = HttpEcho(LOOPBACK), TcpEcho(LOOPBACK), OtlpCollector(LOOPBACK)
        for server in (http, echo, collector):
            stack.enter_context(server)
        tracing = Collector("otlp", Endpoint(collector.host, collector.port), sampling=50.0)
        clusters = [
            make_cluster("http", "web", LOOPBACK, http.port),
            make_cluster("tcp", "echo", LOOPBACK, echo.port),
        ]
        listeners = [listener(name, labels, HttpOptions(tracing)) for name, labels in LABELS.items()]
        boot = static_bootstrap(listeners, clusters, tracing)
        flush = {"tracing.opentelemetry.min_flush_spans": 1}
        boot["layered_runtime"]["layers"].append({"name": "test", "static_layer": flush})
        envoy = stack.enter_context(Envoy(tmp_path_factory.mktemp("envoy"), boot))
        yield Served(envoy, http, collector)


def test_a_silent_connection_is_closed_and_one_that_is_used_is_not(served: Served) -> None:
    with connect(served.at["tcp-idle"]) as peer, peer.makefile("rb") as stream:
        until = time.monotonic() + 2 * SHORT
        while time.monotonic() < until:
            peer.sendall(b"ping")
            assert stream.read(4) == b"ping"
        assert stream.read() == b""


def test_in_http_mode_it_is_closed_once_envoy_has_drained_it(served: Served) -> None:
    with connect(served.at["idle"]) as peer, peer.makefile("rb") as stream:
        until = time.monotonic() + 2 * SHORT
        while time.monotonic() < until:
            peer.sendall(head("GET", "/"))
            assert read_answer(stream).status == 200
        assert stream.read() == b""  # five seconds later: a request in between is still answered


def test_an_upload_that_stalls_is_answered_408(served: Served) -> None:
    with connect(served.at["idle"]) as peer, peer.makefile("rb") as stream:
        peer.sendall(head("POST", "/", ["Content-Length: 10"]) + b"12345")
        assert read_answer(stream).status == 408


@pytest.mark.parametrize("name", ["idle", "request"])
def test_an_answer_that_does_not_come_is_504(served: Served, name: str) -> None:
    assert get(served.at[name], f"/slow/{name}").status == 504
    served.http.release(name)
    assert get(served.at[name], f"/slow/{name}").status == 200


def test_an_upgraded_connection_outlives_the_request_timeout(served: Served) -> None:
    with connect(served.at["request"]) as peer, peer.makefile("rb") as stream:
        peer.sendall(head("GET", "/", ["Upgrade: websocket", "Connection: Upgrade"]))
        assert read_answer(stream).status == 101
        until = time.monotonic() + 2 * SHORT
        while time.monotonic() < until:
            peer.sendall(b"ping")
            assert stream.read(4) == b"ping"


def test_without_labels_there_is_no_timeout_in_either_mode(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        names = ("plain", "request", "untraced", "tcp", "tcp-request")
        peers = [stack.enter_context(connect(served.at[name])) for name in names]
        assert select.select(peers, [], [], 3 * SHORT)[0] == []
        for peer in peers:
            peer.sendall(head("GET", "/"))
            assert peer.recv(1000)


def test_a_port_that_is_not_traced_has_no_spans_and_passes_its_clients_context(served: Served) -> None:
    context = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = get(served.at["untraced"], "/untraced", [context])
    assert context.encode() in answer.body and b"tracestate" not in answer.body.lower()
    assert served.spans("/untraced") == []


def test_a_ports_own_sampling_counts_more_than_the_configurations(served: Served) -> None:
    for _ in range(20):
        get(served.at["none"], "/none")
        get(served.at["all"], "/all")
    assert (len(served.spans("/none")), len(served.spans("/all"))) == (0, 20)
    for _ in range(100):
        get(served.at["plain"], "/half")
    assert 20 <= len(served.spans("/half")) <= 80


def test_envoy_has_nothing_to_warn_of(served: Served) -> None:
    log = Path(served.envoy.log).read_text()
    assert "[warning]" not in log and "[error]" not in log
