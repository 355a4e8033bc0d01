"""Traces and statistics of containers under their services' own names."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.harness.collectors import Collector, OtlpCollector, Span, ZipkinCollector
from tests.harness.docker import IMAGE
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

# Envoy sends so many spans together, or those it has after five seconds.
BATCH = 5
COLLECTORS: dict[str, tuple[type[Collector], int, str]] = {
    "otlp": (OtlpCollector, 4317, "grpc://127.0.0.1:4317"),
    "zipkin": (ZipkinCollector, 9411, "http://127.0.0.1:9411/api/v2/spans"),
}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced(NamedTuple):
    kind: str
    stack: Stack
    collector: Collector

    def span(self, port: int, path: str, **headers: str) -> Span:
        """A request's for a path that no other test asks for."""
        self.stack.get(port)
        for _ in range(BATCH):
            self.stack.host.http_get(f"http://127.0.0.1:{port}{path}", headers=headers)
        return self.collector.wait_for(lambda spans: with_path(spans, path))[0]


def with_path(spans: list[Span], path: str) -> list[Span]:
    return [span for span in spans if span.tags["http.url"].endswith(path)]


@pytest.fixture(scope="module", params=COLLECTORS)
def traced(request: pytest.FixtureRequest, artifact: Path, engine: Engine) -> Iterator[Traced]:
    make, port, url = COLLECTORS[request.param]
    with Stack(artifact, engine, settings={"tracing": {request.param: url}, "access_log": "stdout"}) as stack:
        with stack.host.call(make, "127.0.0.1", port) as collector:
            assert isinstance(collector, Collector)
            labels = {"ServiceName": "web", "EnvironmentName": "dev", "ProxyMode": "http"}
            stack.dockerd.run_http("hello", "-p", "8301:80", "-p", "8302:80", name="front", labels=labels)
            stack.dockerd.run_http("hello", "-p", "8303:80", name="shop.1")
            stack.dockerd.run_http("hello", "-p", "8304:80", name="quiet", labels={"AccessLog": "off"})
            stack.dockerd.run_http("hello", "-p", "8305:80", name="bytes", labels={"ProxyMode": "tcp"})
            yield Traced(request.param, stack, collector)


@pytest.mark.parametrize(
    ("port", "service", "environment", "container"),
    [(8301, "web", "dev", "front"), (8303, "shop.1", "", "shop.1")],
)
def test_a_request_is_traced_under_its_services_name_and_tags(
    traced: Traced, port: int, service: str, environment: str, container: str
) -> None:
    span = traced.span(port, f"/of-{container}")
    named = span.resource if traced.kind == "otlp" else span.tags
    assert named["service.name"] == service
    assert named.get("deployment.environment.name", "") == environment
    assert named["container.name"] == container
    assert (named["container.image.name"], named["service.version"]) == (IMAGE, "1")
    identity = traced.stack.dockerd.api(f"/containers/{container}/json")["Id"][:12]
    assert named["container.id"] == named["service.instance.id"] == identity
    assert named["host.name"] == os.uname().nodename
    # Zipkin's tracer has one service for all of an Envoy: there the operation tells them apart.
    assert (span.service, span.name) == {
        "otlp": (service, "GET"),
        "zipkin": ("docker", f"GET {service}"),
    }[traced.kind]
    assert (span.kind, span.tags["http.status_code"]) == ("SERVER", "404")


def test_a_request_that_is_part_of_a_trace_stays_part_of_it(traced: Traced) -> None:
    span = traced.span(8301, "/joined", traceparent=f"00-{TRACE}-{PARENT}-01")
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)


def test_prometheus_tells_services_and_their_ports_apart(traced: Traced) -> None:
    before = requests_counted(traced.stack)
    for port, times in ((8301, 3), (8302, 2), (8303, 1)):
        for _ in range(times):
            assert traced.stack.host.http_get(f"http://127.0.0.1:{port}/").status == 200
    after = requests_counted(traced.stack)
    assert {name: after[name] - before.get(name, 0) for name in after} == {
        ("cluster", "web-dev-8301"): 3,
        ("cluster", "web-dev-8302"): 2,
        ("cluster", "shop_1-8303"): 1,
        ("http", "web-dev-8301"): 3,
        ("http", "web-dev-8302"): 2,
        ("http", "shop_1-8303"): 1,
    }


def test_the_access_log_has_each_request_with_its_trace_unless_a_label_says_off(traced: Traced) -> None:
    stack = traced.stack
    for port in (8304, 8305):
        stack.get(port, path="/")
    span = traced.span(8301, "/logged")

    def logged() -> list[dict[str, Any]]:
        with stack.envoy.log.open() as log:
            done = stack.registrar.command("logs", "--json", "--lines", "1000", "--file", "-", stdin=log)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def found() -> dict[str, Any]:
        lines = logged()
        assert [line for line in lines if line["container.name"] == "bytes" and line["bytes.sent"] > 0]
        return next(line for line in lines if line.get("url.path") == "/logged")

    line = eventually(found, 10, "lines of both modes")
    assert (line["trace_id"], line["service.name"], line["container.image.name"]) == (
        span.trace_id,
        "web",
        IMAGE,
    )
    assert (line["http.response.status_code"], line["server.port"]) == (404, 8301)
    assert not [line for line in logged() if line["container.name"] == "quiet"]
    assert stack.binding(8304)["labels"]["AccessLog"] == "off"


COUNTERS = re.compile(
    r"^envoy_(cluster_upstream_rq_total\{envoy_cluster_name|http_downstream_rq_total\{envoy_http_conn_manager_prefix)"
    r'="([^"]*-83\d\d)"\} (\d+)$',
    re.MULTILINE,
)


def requests_counted(stack: Stack) -> dict[tuple[str, str], int]:
    page = stack.envoy.admin("/stats/prometheus?usedonly")
    return {(kind.split("_")[0], name): int(value) for kind, name, value in COUNTERS.findall(page)}
