"""The files in examples/ are what boards/ makes, and docs/ tell of them."""

import re

import pytest
import yaml

from examples.boards.alerts import ALERTS, OPERATING, PREFIX, REGISTRAR_MB
from examples.boards.files import annotations, files, prometheus
from examples.boards.recording import RULES
from shim.config.keys import Config
from shim.core.envoy.scrape import PAGE, REGISTRAR_PAGE
from tests.examples.documents import UNITS, blocks, table_rows
from tests.examples.test_links import anchors
from tests.harness.engines import ROOT

DOCS = "docs/metrics-and-tracing.md"


@pytest.mark.parametrize("name", files())
def test_a_file_is_what_is_made(name: str) -> None:
    assert (ROOT / name).read_text() == files()[name], "run ./build.sh boards"


def test_both_jobs_scrape_what_is_there_by_default_and_are_those_of_the_docs() -> None:
    jobs = prometheus()["scrape_configs"]
    assert [job["metrics_path"] for job in jobs] == [PAGE, REGISTRAR_PAGE]
    assert {target for job in jobs for at in job["static_configs"] for target in at["targets"]} == {
        str(Config().scrape_address)
    }
    (shown,) = [text for text in blocks("yaml", DOCS) if "scrape_configs" in text]
    assert yaml.safe_load(shown)["scrape_configs"] == jobs


def test_the_table_of_alerts_is_theirs() -> None:
    assert table_rows(DOCS, "Dashboard and alerts") == [
        [f"`{alert.name}`", alert.severity, alert.when, alert.wait if alert.wait != "0m" else "at once"]
        for alert in ALERTS
    ]
    assert f"`{PREFIX}" in (ROOT / DOCS).read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_run_and_where_to_read(alert: object) -> None:
    assert alert in ALERTS and isinstance(alert, type(ALERTS[0]))
    said = annotations(alert)
    assert "Run `envoy-docker-shim doctor`" in said["description"]
    assert said["runbook_url"] == f"{OPERATING}#{alert.runbook}"
    assert alert.runbook in anchors(OPERATING)
    assert "{{ $labels.instance }}" in said["summary"]


def test_the_rules_that_alerts_ask_for_are_there() -> None:
    asked = {name for alert in ALERTS for name in re.findall(r"service:\w+:\w+", alert.expr)}
    assert asked and asked <= RULES.keys()


def test_the_registrars_bound_is_its_units() -> None:
    assert f"\nMemoryMax={REGISTRAR_MB}M\n" in (UNITS / "envoy-docker-shim.service").read_text()
