"""What docs/ list of spans, bindings and the status is what a real Envoy and registrar say."""

import json
import re

import pytest

from tests.examples.documents import first_cells, table_rows
from tests.harness.collectors import Collector, OtlpCollector
from tests.harness.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def test_the_attributes_are_in_a_span(stack: Stack) -> None:
    labels = {"ServiceName": "greeter", "EnvironmentName": "demo"}
    with stack.host.call(OtlpCollector, "127.0.0.1", 4317) as collector:
        stack.dockerd.run_http("hello", "-p", "8092:80", labels=labels)
        assert isinstance(collector, Collector)
        stack.get(8092)
        span = collector.wait_for(lambda spans: [s for s in spans if s.service == "greeter"])[0]
    attributes = {**span.resource, **span.tags}
    rows = table_rows("docs/metrics-and-tracing.md", "What is in a span")
    assert set(first_cells("docs/metrics-and-tracing.md", "What is in a span")) <= set(attributes)
    assert span.resource["service.name"] == dict(rows_of(rows))["service.name"]
    assert span.resource["deployment.environment.name"] == dict(rows_of(rows))["deployment.environment.name"]


def rows_of(rows: list[list[str]]) -> list[tuple[str, str]]:
    return [(row[0].strip("`"), row[1].strip("`")) for row in rows]


def test_the_fields_are_those_of_the_api(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8093:80")
    binding = stack.binding(8093)
    assert first_cells("docs/reference.md", "A binding") == list(binding)
    status = json.loads(stack.registrar.read("/status").text)
    assert first_cells("docs/reference.md", "The status") == list(status)
    cells = {row[0].strip("`"): row[1] for row in table_rows("docs/reference.md", "The status")}
    assert set(re.findall(r"`(\w+)`", cells["docker"])) == set(status["docker"])
    assert set(re.findall(r"`(\w+)`", cells["versions"])) == set(status["versions"])
    (envoy,) = status["envoys"]
    assert set(re.findall(r"`(\w+)`", cells["envoys"])) == {*envoy, *envoy["clusters"]}
