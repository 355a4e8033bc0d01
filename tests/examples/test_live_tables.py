"""What docs/ list of spans, bindings and the status is what a real Envoy and registrar say."""

import json
import re

import pytest

from tests.examples.documents import first_cells, table_rows
from tests.harness.collectors import Collector, OtlpCollector, Span
from tests.harness.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


# What each gives to the containers that it starts, as far as spans show it.
ORCHESTRATED: tuple[dict[str, str], ...] = (
    {},
    {
        "com.docker.swarm.service.name": "web",
        "com.docker.swarm.node.id": "zm1a",
        "com.docker.swarm.task.name": "web.1.sx2h",
    },
    {
        "com.amazonaws.ecs.container-name": "web",
        "com.amazonaws.ecs.task-arn": "arn:aws:ecs:eu-west-1:1:task/a",
    },
    {"com.hashicorp.nomad.task_name": "web", "com.hashicorp.nomad.namespace": "shop"},
)


def test_the_attributes_are_in_a_span(stack: Stack) -> None:
    with stack.host.call(OtlpCollector, "127.0.0.1", 4317) as collector:
        assert isinstance(collector, Collector)
        for port, labels in enumerate(ORCHESTRATED, 8060):
            own = {"ServiceName": "greeter", "EnvironmentName": "demo"}
            stack.dockerd.run_http("hello", "-p", f"{port}:80", labels={**own, **labels})
            stack.get(port)
        spans = collector.wait_for(one_of_each)
    attributes = {name for span in spans for name in (*span.resource, *span.tags)}
    rows = table_rows("docs/metrics-and-tracing.md", "What is in a span")
    assert set(first_cells("docs/metrics-and-tracing.md", "What is in a span")) <= attributes
    for span in spans:
        for name in ("service.name", "deployment.environment.name"):
            assert span.resource[name] == dict(rows_of(rows))[name]


def one_of_each(spans: list[Span]) -> list[Span]:
    found = [span for span in spans if span.service == "greeter"]
    return found if len(found) == len(ORCHESTRATED) else []


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
