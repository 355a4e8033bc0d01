"""Debian's Prometheus beside a real Envoy and registrar: every panel and rule has an answer, under load."""

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.boards.alerts import PREFIX
from examples.boards.files import prometheus as configuration
from examples.boards.recording import RULES
from shim.config.keys import Config
from tests.boards.test_dashboard import PANELS
from tests.conftest import or_cannot
from tests.examples.documents import EXAMPLES
from tests.harness.load import Rounds
from tests.harness.prometheus import Prometheus, Sample
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

HTTP_PORT, BROKEN_PORT, TCP_PORT, UDP_PORT = 8080, 8081, 8082, 8053
# What Grafana puts in place of its variables: all of each, and a range in which the services have started.
VARIABLES = {"$__rate_interval": "2m", "$instance": ".*", "$environment": ".*", "$service": ".*"}
PAUSE = 0.05  # seconds between two rounds of load


class Load(Rounds):
    """Asks every service by turns, at an even pace."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.host, PAUSE)
        self._host = stack.host

    def one(self, number: int) -> None:
        for port in (HTTP_PORT, BROKEN_PORT):
            with contextlib.suppress(OSError):
                self._host.http_get(f"http://127.0.0.1:{port}/")
        with contextlib.suppress(OSError), self._host.connect("127.0.0.1", TCP_PORT) as peer:
            peer.sendall(b"hello")
            peer.recv(5)
        with contextlib.suppress(OSError):
            self._host.udp_ask("127.0.0.1", UDP_PORT, b"hello", timeout=0.5)


@pytest.fixture(scope="module")
def scraped(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes each second, with its files as they are otherwise."""
    directory = tmp_path_factory.mktemp("prometheus")
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(EXAMPLES / "prometheus" / name, directory)
    config = configuration()
    config["global"] = dict.fromkeys(config["global"], "1s")
    settings = {"envoy_admin": f"unix:{directory}/admin.sock", "scrape_address": str(Config().scrape_address)}
    with Stack(artifact, "28", settings=settings) as stack:
        with or_cannot(Prometheus, stack.host, directory, config) as server:
            # What begins from now on is a change that Prometheus sees.
            eventually(lambda: answer(server, "envoy_docker_shim_pushes_total"), 20, "it scrapes")
            start_services(stack)
            with Load(stack):
                yield server


def start_services(stack: Stack) -> None:
    dev = {"EnvironmentName": "dev"}
    run = stack.dockerd
    web = run.run_http("hello", "-p", f"{HTTP_PORT}:80", labels={"ServiceName": "web", **dev})
    run.run("-p", f"{BROKEN_PORT}:80", labels={"ServiceName": "broken", "ProxyMode": "http", **dev})
    db = run.run_tcp_echo("-p", f"{TCP_PORT}:7", labels={"ServiceName": "db", "ProxyMode": "tcp", **dev})
    dns = run.run_udp_echo("-p", f"{UDP_PORT}:7/udp", labels={"ServiceName": "dns"})
    # Whoever asks before they listen is a failed connection more.
    for container, table in ((web, "tcp"), (db, "tcp"), (dns, "udp")):
        eventually(lambda at=container, of=table: listens(stack, at, of), 10, "it listens")  # type: ignore[misc]
    for port in (HTTP_PORT, BROKEN_PORT, TCP_PORT):
        stack.binding(port)


def listens(stack: Stack, container: str, table: str) -> bool:
    files = (f"/proc/net/{table}", f"/proc/net/{table}6")
    return len(stack.dockerd.exec(container, "cat", *files).splitlines()) > 2  # below the heads


def answer(prometheus: Prometheus, expr: str) -> list[Sample]:
    """What Grafana would show: numbers."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return [sample for sample in prometheus.query(expr) if not math.isnan(sample.value)]


def services(samples: list[Sample]) -> dict[str, float]:
    return {sample.labels.get("service", ""): sample.value for sample in samples}


def test_every_panel_shows_something(scraped: Prometheus) -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            expr = target["expr"]
            eventually(
                lambda expr=expr: answer(scraped, expr),  # type: ignore[misc]
                40,
                f"{panel['title']}: {expr}",
                0.5,
            )


def test_the_table_has_each_service_with_its_own_figures(scraped: Prometheus) -> None:
    (table,) = [panel for panel in PANELS if panel["type"] == "table"]
    renamed = table["transformations"][1]["options"]["renameByName"]
    columns = {renamed[f"Value #{target['refId']}"]: target["expr"] for target in table["targets"]}

    def look() -> dict[str, dict[str, float]]:
        found = {name: services(answer(scraped, expr)) for name, expr in columns.items()}
        assert set(found["Requests"]) == {"web", "broken"} == set(found["p99"])
        assert found["Success"] == {"web": 1, "broken": 0}
        assert set(found["New connections"]) == {"web", "broken", "db"} == set(found["Connections"])
        assert set(found["From clients"]) == {"web", "broken", "db", "dns"} == set(found["To clients"])
        assert set(found["Datagrams"]) == {"dns"} and found["Datagrams"]["dns"] > 0
        # An echo: as much out as in, but for what a scrape has not seen yet.
        assert found["From clients"]["db"] > 0
        assert found["To clients"]["db"] == pytest.approx(found["From clients"]["db"], rel=0.2)
        assert 1 < found["Requests"]["web"] < 1 / PAUSE
        return found

    eventually(look, 30, "each has its figures", 0.5)


def test_every_rule_is_evaluated_and_has_an_answer(scraped: Prometheus) -> None:
    for name in RULES:
        eventually(lambda name=name: answer(scraped, name), 20, name, 0.5)  # type: ignore[misc]
    rules = [rule for group in scraped.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > len(RULES)
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]


def test_alerts_are_of_what_is_broken_only(scraped: Prometheus) -> None:
    def pending() -> dict[str, Any]:
        found = {alert["labels"]["alertname"]: alert for alert in scraped.get("alerts")["alerts"]}
        assert set(found) == {f"{PREFIX}ErrorRate", f"{PREFIX}ContainerRefuses"}, json.dumps(found)
        return found

    found = eventually(pending, 20, "two alerts wait", 0.5)
    said = [found[f"{PREFIX}{name}"]["annotations"]["summary"] for name in ("ErrorRate", "ContainerRefuses")]
    assert re.fullmatch(r"100% of the answers of broken/dev on 127.0.0.1:9901 are errors", said[0])
    assert said[1] == "The container of broken/dev on 127.0.0.1:9901 does not accept connections"
