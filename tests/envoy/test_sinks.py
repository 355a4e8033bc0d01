"""Statistics that a real Envoy sends by itself reach a collector and statsd, under the names of its page."""

from pathlib import Path

import pytest

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import bootstrap
from shim.core.envoy.sinks import Sinks
from tests.builders import make_cluster, make_listener
from tests.envoy.serving import LOOPBACK, untyped
from tests.harness.backends import HttpEcho
from tests.harness.clients import get
from tests.harness.collectors import OtlpMetrics, Point, Statsd
from tests.harness.envoy import Envoy
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy


def test_requests_are_counted_at_a_collector_and_at_statsd(tmp_path: Path) -> None:
    with HttpEcho(LOOPBACK) as http, OtlpMetrics(LOOPBACK) as collector, Statsd() as statsd:
        assert isinstance(collector, OtlpMetrics)
        sinks = Sinks(Endpoint(LOOPBACK, collector.port), Endpoint(LOOPBACK, statsd.port), 0.2)
        boot = bootstrap("host-1", "docker", Endpoint(LOOPBACK, 1), Endpoint(LOOPBACK, 0), sinks=sinks)
        del boot["dynamic_resources"]
        resources = boot["static_resources"]
        resources["listeners"] = [untyped(make_listener("http", "web", LOOPBACK, 0, "web-dev-8080", "web"))]
        resources["clusters"].append(untyped(make_cluster("http", "web", LOOPBACK, http.port)))
        with Envoy(tmp_path, boot) as envoy:
            for _ in range(3):
                assert get(envoy.listeners()["web"]).status == 200
            assert statsd.wait_for("envoy.http.web-dev-8080.downstream_rq_2xx", "c") > 0

            def counted() -> list[Point]:
                return [
                    point
                    for point in collector.points
                    if point.name == "envoy.http.downstream_rq_xx"
                    and point.attributes.get("envoy.http_conn_manager_prefix") == "web-dev-8080"
                    and (point.attributes.get("envoy.response_code_class"), point.value) == ("2", 3)
                ]

            point = eventually(counted, 10, "three requests are counted")[0]
            assert (
                point.resource.items() >= {"service.name": "envoy", "service.instance.id": "host-1"}.items()
            )
            assert eventually(lambda: [p for p in collector.points if p.name.endswith("downstream_rq_time")])
            assert "warning" not in envoy.log.read_text()
