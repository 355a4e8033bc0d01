"""Traces and statistics of containers under their services' own names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.collectors import Collector, OtlpCollector, Span, ZipkinCollector
from tests.harness.docker import IMAGE
from tests.harness.engines import Engine
from tests.harness.stack import Stack

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
    with Stack(artifact, engine, settings={"tracing": {request.param: url}}) as stack:
        with stack.host.call(make, "127.0.0.1", port) as collector:
            assert isinstance(collector, Collector)
            labels = {"ServiceName": "web", "EnvironmentName": "dev", "ProxyMode": "http"}
            stack.dockerd.run_http("hello", "-p", "8301:80", "-p", "8302:80", name="front", labels=labels)
            stack.dockerd.run_http("hello", "-p", "8303:80", name="shop.1")
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
    assert named["container.image.name"] == IMAGE
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


COUNTERS = re.compile(
    r"^envoy_(cluster_upstream_rq_total\{envoy_cluster_name|http_downstream_rq_total\{envoy_http_conn_manager_prefix)"
    r'="([^"]*-83\d\d)"\} (\d+)$',
    re.MULTILINE,
)


def requests_counted(stack: Stack) -> dict[tuple[str, str], int]:
    page = stack.envoy.admin("/stats/prometheus?usedonly")
    return {(kind.split("_")[0], name): int(value) for kind, name, value in COUNTERS.findall(page)}
