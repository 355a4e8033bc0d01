"""One address for Prometheus: Envoy's statistics and the registrar's metrics, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import bootstrap
from shim.core.envoy.scrape import BURST, PAGE, REGISTRAR_PAGE
from tests.envoy.serving import LOOPBACK
from tests.harness import exposition
from tests.harness.backends import dechunk
from tests.harness.clients import Address, Answer, exchange, head
from tests.harness.envoy import Envoy
from tests.harness.registrar import LoopbackRegistrar, free_ports
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Served(NamedTuple):
    registrar: LoopbackRegistrar
    envoy: Envoy
    address: Address

    def get(
        self, path: str = REGISTRAR_PAGE, *fields: str, method: str = "GET", host: str = "x.y.z"
    ) -> Answer:
        return exchange(self.address, head(method, path, ("Connection: close", *fields), host))


@pytest.fixture
def served(artifact: Path, tmp_path: Path) -> Iterator[Served]:
    registrar = LoopbackRegistrar(artifact, tmp_path)
    with registrar.running():
        registrar.wait_until_healthy()
        (port,) = free_ports(1)
        api, admin = Endpoint(LOOPBACK, registrar.api), Endpoint(path=str(tmp_path / "admin.sock"))
        boot = bootstrap("envoy-1", "docker", api, admin, scrape=Endpoint(LOOPBACK, port))
        with Envoy(tmp_path / "envoy", boot) as envoy:
            yield Served(registrar, envoy, (LOOPBACK, port))


def test_prometheus_reads_both_under_any_name_of_the_host_and_nobody_reads_more(served: Served) -> None:
    assert b"envoy_server_live" in served.get(PAGE + "?usedonly").body

    def current() -> bool:
        text = dechunk(served.get().body).decode()
        found = exposition.read(text)
        acknowledged = found.value("envoy_docker_shim_acknowledgements_total", kind="listeners")
        return found.value("envoy_docker_shim_envoys") == 1 and acknowledged >= 1

    eventually(current, 10, interval=0.6)
    answer = served.get(REGISTRAR_PAGE, f"Accept: {OPENMETRICS}")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    found = exposition.read(dechunk(answer.body).decode(), openmetrics=True)
    assert found.value("envoy_docker_shim_acknowledgements_total", kind="listeners") >= 1
    for path, method in (
        (REGISTRAR_PAGE, "POST"),
        ("/metrics", "GET"),
        ("/registrar/bindings", "GET"),
        (f"{REGISTRAR_PAGE}/../../bindings", "GET"),
        ("/v3/discovery:listeners", "POST"),
    ):
        assert served.get(path, method=method).status == 404, path
    # A web page's request is known as one by the registrar.
    assert served.get(REGISTRAR_PAGE, "Origin: http://evil.example").status == 403


def test_a_flood_of_scrapes_stops_at_envoy_and_envoys_own_polls_go_on(served: Served) -> None:
    answers = [served.get().status for _ in range(BURST * 5)]
    assert set(answers) == {200, 429}
    assert answers.count(200) < BURST * 3
    stats = served.envoy.stats("registrar.*upstream_cx_total")
    assert stats["cluster.envoy_docker_shim_registrar_metrics.upstream_cx_total"] == 1


def test_where_the_registrar_is_away_the_page_is_too_and_envoys_is_not(served: Served) -> None:
    assert served.registrar.end() == 0
    assert served.get().status == 503
    assert served.get(PAGE).status == 200
