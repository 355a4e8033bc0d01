"""Traces without a collector: a real Envoy brings its spans to a real registrar, which tells of them."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import bootstrap
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.tracing import LOCAL, SPANS_A_BATCH, Collector
from tests.builders import make_cluster, make_listener
from tests.envoy.serving import LOOPBACK, make_service, untyped
from tests.harness.backends import HttpEcho
from tests.harness.clients import Address, exchange, get, head
from tests.harness.envoy import Envoy
from tests.harness.registrar import LoopbackRegistrar, free_ports
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy

Trace = dict[str, Any]
KEPT = 200  # spans
# Seconds; Envoy brings what it has each two, or each five where it was started before traces were wanted.
SOON = 8.0


class Served(NamedTuple):
    registrar: LoopbackRegistrar
    envoy: Envoy
    at: dict[str, Address]

    def traces(self, query: str = "") -> list[Trace]:
        found: list[Trace] = json.loads(self.registrar.read(f"/traces{query}").text)["traces"]
        return found

    def spans(self, trace: Trace) -> list[Trace]:
        found: list[Trace] = json.loads(self.registrar.read(f"/traces/{trace['id']}").text)["spans"]
        return found

    def wait_for(self, wanted: Callable[[Trace], bool], timeout: float = SOON) -> Trace:
        """The last trace that is wanted."""

        def look() -> Trace | None:
            return next(filter(wanted, self.traces()), None)

        found = eventually(look, timeout, "a trace is told of")
        assert found is not None
        return found


def asked(path: str) -> Callable[[Trace], bool]:
    return lambda trace: trace["name"] == f"GET example.test{path}"


@pytest.fixture(scope="module")
def served(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(artifact, tmp_path_factory.mktemp("local"), unix=True, flush_ms=200) as made:
        yield made


class Serving(ExitStack):
    """The registrar, and an Envoy whose front asks its shop, which asks a backend."""

    def start(self, artifact: Path, directory: Path, unix: bool, restarted: bool, flush_ms: int) -> Served:
        where = {"api_address": f"unix:{directory}/api.sock"} if unix else {}
        registrar = LoopbackRegistrar(artifact, directory, tracing={"local": KEPT}, **where)
        registrar.start()
        self.callback(registrar.end)
        api = Endpoint(path=f"{directory}/api.sock") if unix else Endpoint(LOOPBACK, registrar.api)
        backend = self.enter_context(HttpEcho(LOOPBACK))
        (port,) = free_ports(1)
        tracing = Collector(LOCAL, kept=KEPT)
        boot = bootstrap(
            "node", "docker", api, Endpoint(LOOPBACK, registrar.admin), tracing if restarted else None
        )
        named = {
            name: make_listener(
                "http", name, LOOPBACK, at, name, to, make_service(name), HttpOptions(tracing)
            )
            for name, at, to in (("front", 0, "shop"), ("shop", port, "backend"), ("lost", 0, "nowhere"))
        }
        boot["static_resources"]["listeners"] = [untyped(listener) for listener in named.values()]
        clusters = (("shop", port), ("backend", backend.port), ("nowhere", free_ports(1)[0]))
        boot["static_resources"]["clusters"] += [
            untyped(make_cluster("http", name, LOOPBACK, to)) for name, to in clusters
        ]
        if flush_ms:
            flush = {"tracing.opentelemetry.flush_interval_ms": flush_ms}
            boot["layered_runtime"]["layers"].append({"name": "test", "static_layer": flush})
        envoy = self.enter_context(Envoy(directory / "envoy", boot))
        name = "cluster.envoy_docker_shim_spans.membership_total"
        envoy.wait_for(lambda: envoy.stats(name).get(name))  # it comes by discovery
        return Served(registrar, envoy, envoy.listeners())


class serve:
    """A context manager: such a Served.  ``restarted``: whether Envoy was, after traces were turned on.

    ``flush_ms``: how often Envoy brings what it has; 0: as with users.
    """

    def __init__(
        self,
        artifact: Path,
        directory: Path,
        *,
        unix: bool = False,
        restarted: bool = True,
        flush_ms: int = 0,
    ) -> None:
        self._made = artifact, directory, unix, restarted, flush_ms
        self._stack = Serving()

    def __enter__(self) -> Served:
        with self._stack as clean:
            made = clean.start(*self._made)
            self._stack = clean.pop_all()
        return made

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def test_a_request_is_a_trace_within_seconds(served: Served) -> None:
    get(served.at["shop"], "/first?a=b")
    trace = served.wait_for(asked("/first?a=b"))
    assert (trace["service"], trace["environment"], trace["status"], trace["spans"]) == (
        "shop",
        "prod",
        200,
        1,
    )
    (span,) = served.spans(trace)
    assert span["attributes"]["http.method"] == "GET"
    assert span["resource"]["container.image.name"] == "shop/web:1.2"
    assert 0 < span["duration_ms"] == trace["duration_ms"] < 5000
    assert span["kind"] == "server" and span["error"] is False


def test_spans_of_two_services_are_one_trace(served: Served) -> None:
    get(served.at["front"], "/nested")
    trace = served.wait_for(lambda trace: asked("/nested")(trace) and trace["spans"] == 2)
    front, shop = served.spans(trace)
    assert (trace["service"], front["service"], shop["service"]) == ("front", "front", "shop")
    assert (front["parent"], shop["parent"], front["depth"], shop["depth"]) == (None, front["id"], 0, 1)
    assert 0 <= shop["offset_ms"] <= shop["offset_ms"] + shop["duration_ms"] <= front["duration_ms"] + 1


def test_a_clients_own_trace_joins_what_it_asked_for(served: Served) -> None:
    context = f"traceparent: 00-{'5' * 32}-{'6' * 16}-01"
    get(served.at["shop"], "/one", (context,))
    get(served.at["front"], "/two", (context,))
    trace = served.wait_for(lambda trace: trace["id"] == "5" * 32 and trace["spans"] == 3)
    assert [span["depth"] for span in served.spans(trace)] == [0, 0, 1]
    assert {span["parent"] for span in served.spans(trace) if span["depth"] == 0} == {"6" * 16}


def test_what_failed_is_found_by_that(served: Served) -> None:
    get(served.at["shop"], "/good")
    assert get(served.at["lost"], "/bad").status == 503
    served.wait_for(asked("/bad"))
    served.wait_for(asked("/good"))
    assert all(trace["error"] for trace in served.traces("?errors=1"))
    assert served.traces("?errors=1&service=lost")[0]["status"] == 503
    assert not served.traces("?errors=1&service=shop")


def test_what_a_client_sends_is_in_spans_within_bounds(served: Served) -> None:
    huge = exchange(served.at["shop"], head("GET", "/" + "x" * 5000, ["User-Agent: " + "é" * 20_000]))
    assert huge.status == 200
    trace = served.wait_for(lambda trace: "xxx" in trace["name"])
    (span,) = served.spans(trace)
    assert max(map(len, span["attributes"].values())) <= 1024
    assert len(span["name"]) <= 300


def test_many_requests_are_few_batches_and_the_last_spans_are_kept(served: Served) -> None:
    before = served.envoy.stats("spans")
    for _ in range(6 * SPANS_A_BATCH):
        assert get(served.at["shop"], "/flood").status == 200
    get(served.at["front"], "/after")
    served.wait_for(asked("/after"))
    after = served.envoy.stats("spans")
    sent = "cluster.envoy_docker_shim_spans.upstream_rq_total"
    assert after[sent] - before.get(sent, 0) < 6 * SPANS_A_BATCH / 5 / 4  # not one every five spans
    assert after["cluster.envoy_docker_shim_spans.upstream_cx_total"] == 1
    assert after["tracing.opentelemetry.spans_dropped"] == 0
    found = json.loads(served.registrar.read("/traces?limit=1000").text)
    assert found["kept"] == found["limit"] == sum(trace["spans"] for trace in found["traces"]) == KEPT


def test_envoy_has_nothing_to_complain_of(served: Served) -> None:
    assert re.findall(r".*\[(?:warning|error)\].*", served.envoy.log.read_text()) == []


def test_a_registrar_that_is_away_costs_spans_and_no_request(artifact: Path, tmp_path: Path) -> None:
    with serve(artifact, tmp_path) as served:
        assert brought_by(65534, served.registrar) == 403
        assert brought_by(0, served.registrar) == 200
        get(served.at["shop"], "/before")
        served.wait_for(asked("/before"))
        assert served.registrar.end() == 0
        for _ in range(20):
            assert get(served.at["front"], "/meanwhile").status == 200
        served.registrar.start()
        assert served.traces() == []  # nothing outlives the registrar
        assert get(served.at["shop"], "/again").status == 200
        served.wait_for(asked("/again"))


def test_the_registrars_restart_is_enough_to_turn_traces_on(artifact: Path, tmp_path: Path) -> None:
    """Envoy's file has nothing of it."""
    with serve(artifact, tmp_path, restarted=False) as served:
        get(served.at["shop"], "/at-once")
        served.wait_for(asked("/at-once"))


def brought_by(user: int, registrar: LoopbackRegistrar) -> int:
    """The status that a process of this user gets for spans."""
    client = (
        "import http.client\n"
        f"c = http.client.HTTPConnection('{LOOPBACK}', {registrar.api}, timeout=10)\n"
        "c.request('POST', '/v1/traces', b'', {'Content-Type': 'application/x-protobuf'})\n"
        "print(c.getresponse().status)\n"
    )
    command = ["/usr/bin/python3", "-I", "-c", client]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, user=user).stdout)
