"""Tracing on a real Envoy: spans under the service's own name, and a client's own context respected."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shim.core.bootstrap import Collector as CollectorAddress
from shim.core.resources import HttpOptions, cluster, http_listener
from shim.core.tracing import COLLECTOR_CLUSTER, Json, Tracing, service_for
from tests.envoy.serving import LOOPBACK, make_service, static_bootstrap
from tests.envoy.test_http_mode import CLIENTS_UUID, added
from tests.harness.backends import HttpEcho
from tests.harness.clients import Address, exchange, get, head
from tests.harness.collectors import Collector, OtlpCollector, Span, ZipkinCollector
from tests.harness.envoy import Envoy

pytestmark = pytest.mark.envoy

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
AUTHORITY = "zipkin.test:9411"
ENDPOINT = "/some/api/v2/spans"

# Nothing in it may be taken for one of Envoy's format commands, nor break the listener.
ODD = make_service('5%REQ(:PATH)% of "ö\\', "", "c-%1", "i@sha256:0%")

# Each is a listener, with a service of its name where it is not said.
SERVICES = {"web": make_service(), "shop": make_service("shop"), "odd": ODD}
SAMPLING = {"none": 0.0, "tenth": 10.0}

BASE_FIELDS = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "Traceparent"}


class Served(NamedTuple):
    kind: str
    envoy: Envoy
    collector: Collector
    at: dict[str, Address]

    def spans(self, path: str, service: str = "web", fields: tuple[str, ...] = ()) -> list[Span]:
        """The spans of one request: none is known by those of a later one having arrived."""
        get(self.at[service], path, fields)
        get(self.at["web"], f"{path}/after")
        self.collector.wait_for(lambda spans: with_path(spans, f"{path}/after"))
        return with_path(self.collector.spans, path)


def with_path(spans: list[Span], path: str) -> list[Span]:
    return [span for span in spans if span.tags["http.url"].endswith(f"test{path}")]


def listeners(kind: str) -> Iterator[Json]:
    everything = Tracing(kind, ENDPOINT, AUTHORITY, 100.0)
    wanted = [(name, service, everything) for name, service in SERVICES.items()]
    wanted += [(name, make_service(name), everything._replace(sampling=p)) for name, p in SAMPLING.items()]
    for name, service, tracing in wanted:
        texts = service_for(service, tracing)
        yield http_listener(name, LOOPBACK, 0, name, "web", texts, HttpOptions(tracing))


@pytest.fixture(scope="module", params=["otlp", "zipkin"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    kind = request.param
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(HttpEcho(LOOPBACK))
        collector = OtlpCollector(LOOPBACK) if kind == "otlp" else ZipkinCollector(LOOPBACK)
        stack.enter_context(collector)
        address = CollectorAddress(collector.host, collector.port, http2=kind == "otlp")
        boot = static_bootstrap(listeners(kind), [cluster("web", LOOPBACK, backend.port, http=True)], address)
        # Each span as soon as it is there, rather than five together.
        flush = {"tracing.opentelemetry.min_flush_spans": 1, "tracing.zipkin.min_flush_spans": 1}
        boot["layered_runtime"]["layers"].append({"name": "test", "static_layer": flush})
        if kind == "zipkin":  # in order, so that a later span tells that an earlier one is not to come
            (to_collector,) = (
                c for c in boot["static_resources"]["clusters"] if c["name"] == COLLECTOR_CLUSTER
            )
            to_collector["circuit_breakers"] = {"thresholds": [{"max_connections": 1}]}
        envoy = stack.enter_context(Envoy(tmp_path_factory.mktemp("envoy"), boot))
        yield Served(kind, envoy, collector, envoy.listeners())


@pytest.mark.parametrize("service", ["web", "shop"])
def test_a_span_says_service_environment_container_and_image(served: Served, service: str) -> None:
    (span,) = served.spans(f"/named-{service}", service)
    wanted = {
        "service.name": service,
        "deployment.environment.name": "prod",
        "container.name": "web-1",
        "container.image.name": "shop/web:1.2",
    }
    assert wanted.items() <= (span.resource if served.kind == "otlp" else span.tags).items()
    assert span.kind == "SERVER"
    assert (span.service, span.name) == {
        "otlp": (service, "GET"),
        "zipkin": ("test-cluster", f"GET {service}"),
    }[served.kind]
    assert span.tags["http.status_code"] == "200"
    assert span.tags["upstream_cluster.name"] == "web"


def test_a_name_with_percent_signs_is_only_a_name(served: Served) -> None:
    (span,) = served.spans("/odd", "odd")
    if served.kind == "otlp":
        assert span.service == ODD.name
        assert "deployment.environment.name" not in span.resource
        assert span.resource["container.image.name"] == ODD.image
    else:
        assert span.name == f"GET {ODD.name}"
        assert span.tags["service.name"] == ODD.name
        assert "deployment.environment.name" not in span.tags
        assert span.tags["container.image.name"] == ODD.image


def test_a_backend_is_told_the_trace_and_nothing_else(served: Served) -> None:
    request = head("GET", "/told")
    more = added(request, exchange(served.at["web"], request).body)
    b3 = {"X-B3-Traceid", "X-B3-Spanid", "X-B3-Sampled"} if served.kind == "zipkin" else set()
    assert set(more) == BASE_FIELDS | b3
    span = served.collector.wait_for(lambda spans: with_path(spans, "/told"))[0]
    assert more["Traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"


def test_a_client_is_told_nothing(served: Served) -> None:
    assert set(get(served.at["web"], "/client").headers) == {"content-length", "date"}


@pytest.mark.parametrize("listener", ["web", "none", "tenth"])
def test_a_clients_trace_is_joined(served: Served, listener: str) -> None:
    """At any rate: it is the client who decides."""
    context = (f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b")
    (span,) = served.spans(f"/joined-{listener}", listener, context)
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.span_id != PARENT


def test_a_clients_trace_state_is_passed_on(served: Served) -> None:
    fields = (f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b")
    assert b"tracestate: a=b\r\n" in get(served.at["web"], "/state", fields).body.lower()


def test_a_client_that_does_not_sample_is_respected(served: Served) -> None:
    assert served.spans("/unsampled", "web", (f"traceparent: 00-{TRACE}-{PARENT}-00",)) == []


def test_at_0_percent_there_are_no_spans(served: Served) -> None:
    assert served.spans("/none", "none") == []


def test_a_rate_is_kept_to_about(served: Served) -> None:
    for _ in range(400):
        get(served.at["tenth"], "/tenth")
    served.spans("/after-all")
    # 40 expected, deviation 6: outside of this less than once in a million runs.
    assert 8 <= len(with_path(served.collector.spans, "/tenth")) <= 80


@pytest.mark.parametrize("sent", [CLIENTS_UUID, "not-a-uuid"])
@pytest.mark.parametrize("listener", ["web", "tenth"])
def test_a_clients_request_id_is_kept_and_does_not_stop_the_trace(
    served: Served, listener: str, sent: str
) -> None:
    request = head("GET", f"/id-{listener}", [f"X-Request-Id: {sent}"])
    assert "X-Request-Id" not in added(request, exchange(served.at[listener], request).body)
    if listener == "web":
        (span,) = served.spans(f"/id-span-{sent}", "web", (f"X-Request-Id: {sent}",))
        assert span.tags["guid:x-request-id"] == sent


def test_b3_is_joined_with_zipkin_and_passed_by_otherwise(served: Served) -> None:
    b3 = (f"X-B3-TraceId: {TRACE}", f"X-B3-SpanId: {PARENT}", "X-B3-Sampled: 1")
    (span,) = served.spans("/b3", "web", b3)
    assert (span.trace_id == TRACE) is (served.kind == "zipkin")


def test_zipkin_is_addressed_as_configured(served: Served) -> None:
    served.spans("/addressed")
    if isinstance(served.collector, ZipkinCollector):
        assert served.collector.hosts == {AUTHORITY}
        assert served.collector.paths == {ENDPOINT}


def test_all_services_share_one_connection_to_an_otlp_collector(served: Served) -> None:
    """Over HTTP/1.1 it would be one a service."""
    served.spans("/shared", "shop")
    assert served.collector.accepted == 1


def test_envoy_has_nothing_to_warn_of(served: Served) -> None:
    """Except, with OTLP, of an environment that is empty, which it then leaves out."""
    found = re.findall(r".*\[(?:warning|error)\].*", served.envoy.log.read_text())
    left_out = [line for line in found if "Attribute deployment.environment.name cannot be empty" in line]
    assert found == left_out


@pytest.mark.parametrize("kind", ["otlp", "zipkin"])
def test_a_collector_that_is_not_there_harms_no_request(kind: str, tmp_path: Path) -> None:
    with HttpEcho(LOOPBACK) as backend:
        address = CollectorAddress(LOOPBACK, unused_port(), http2=kind == "otlp")
        boot = static_bootstrap(listeners(kind), [cluster("web", LOOPBACK, backend.port, http=True)], address)
        with Envoy(tmp_path, boot) as envoy:
            for _ in range(10):
                assert get(envoy.listeners()["web"]).status == 200


def unused_port() -> int:
    with HttpEcho(LOOPBACK) as once:
        return once.port
