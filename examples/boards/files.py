"""Which text goes into which file of examples/."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from examples.boards.alerts import ALERTS, OPERATING, PREFIX, Alert
from examples.boards.grafana import dashboard
from examples.boards.recording import RULES

Json = dict[str, Any]

MADE = "# Made by `./build.sh boards` from examples/boards/, and checked by tests/boards: change it there.\n"
CONFIG_HEADER = """\
# Prometheus for the host on which it runs.  Other hosts are further targets, in both jobs by the same name:
# a service's figures are Envoy's, and its name is the registrar's, of the same target.  Their scrape_address
# must be one that this host reaches.
"""
RULES_HEADER = "# Recording rules: figures of each service, over five minutes.\n"
ALERTS_HEADER = (
    "# Alerts, each with what to run; docs/metrics-and-tracing.md lists them.  They need rules.yml.\n"
)
TARGET = "127.0.0.1:9901"
JOBS: dict[str, Json] = {
    "envoy": {"metrics_path": "/stats/prometheus", "params": {"usedonly": [""]}},
    "envoy-docker-shim": {"metrics_path": "/registrar/metrics"},
}


def files() -> dict[str, str]:
    """The text of each file, by its path from the root of the project."""
    return {
        "examples/prometheus/prometheus.yml": MADE + CONFIG_HEADER + _yaml(prometheus()),
        "examples/prometheus/rules.yml": MADE + RULES_HEADER + _yaml(_group("services", _recording())),
        "examples/prometheus/alerts.yml": MADE + ALERTS_HEADER + _yaml(_group("alerts", _alerts())),
        "examples/grafana/dashboard.json": json.dumps(dashboard(), indent=1) + "\n",
    }


def prometheus() -> Json:
    """Prometheus' configuration."""
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["rules.yml", "alerts.yml"],
        "scrape_configs": [
            {"job_name": name, **job, "static_configs": [{"targets": [TARGET]}]} for name, job in JOBS.items()
        ],
    }


def annotations(alert: Alert) -> dict[str, str]:
    """What an alert says."""
    return {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": f"{OPERATING}#{alert.runbook}",
    }


def _recording() -> list[Json]:
    return [{"record": name, "expr": expr} for name, expr in RULES.items()]


def _alerts() -> list[Json]:
    return [
        {
            "alert": f"{PREFIX}{alert.name}",
            "expr": alert.expr,
            "for": alert.wait,
            "labels": {"severity": alert.severity},
            "annotations": annotations(alert),
        }
        for alert in ALERTS
    ]


def _group(name: str, rules: list[Json]) -> Json:
    return {"groups": [{"name": f"envoy-docker-shim-{name}", "rules": rules}]}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110)
