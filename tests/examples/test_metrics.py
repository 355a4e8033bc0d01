"""The series of docs/metrics-and-tracing.md are what a real Envoy says of a container."""

import re

import pytest

from tests.examples.documents import table_rows
from tests.harness.exposition import Exposition, read
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def test_the_series_are_on_envoys_page_under_the_services_name(stack: Stack) -> None:
    labels = {"ServiceName": "web", "EnvironmentName": "dev"}
    stack.dockerd.run_http("hello", "-p", "8090:80", labels=labels)
    stack.dockerd.run_tcp_echo("-p", "8091:7", labels={**labels, "ProxyMode": "tcp"})
    stack.get(8090)
    stack.binding(8091)
    with stack.host.connect("127.0.0.1", 8091) as peer:
        peer.sendall(b"x")
    page = eventually(lambda: _page_with(stack, "envoy_tcp_downstream_cx_total", "envoy_http_downstream_rq"))
    for names, label, _ in table_rows("docs/metrics-and-tracing.md", "Metrics"):
        for name in re.findall(r"`(\S+)`", names):
            series = [line for line in page.splitlines() if line.startswith(f"{name}{{")]
            assert series, name
            key = re.match(r"`(\w+)", label)
            assert key is None or any(f'{key[1]}="web-dev-809' in line for line in series), name


def test_the_registrars_series_are_all_in_the_table_with_their_labels(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8092:80", labels={"ServiceName": "web"})
    stack.binding(8092)
    stack.dockerd.run_udp_echo("-p", "8093:7/udp")

    def relayed() -> Exposition | None:
        stack.host.udp_ask("127.0.0.1", 8093, b"up?", timeout=0.2)
        found = read(stack.registrar.read("/metrics").text)
        return found if found.of("envoy_docker_shim_udp_clients") else None

    found = eventually(relayed, 20, "a relay has told of its traffic")
    assert found is not None
    told: dict[str, set[str]] = {}
    for names, labels, _ in table_rows("docs/metrics-and-tracing.md", "The registrar's own"):
        for name in re.findall(r"`(\w+)`", names):
            told[f"envoy_docker_shim_{name}"] = set(re.findall(r"`(\w+)`", labels))
    assert set(told) == {name for name in found.kinds if not name.startswith("process_")}
    for name, wanted in told.items():
        series = found.of(f"{name}_count" if found.kinds[name] == "histogram" else name)
        assert series and all(set(has) == wanted for has in series), name


def _page_with(stack: Stack, *names: str) -> str:
    page = stack.envoy.admin("/stats/prometheus")
    return page if all(f"\n{name}" in page for name in names) else ""
