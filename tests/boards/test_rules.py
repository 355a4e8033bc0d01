"""By Prometheus' own tool: each alert fires on what it is for and on nothing else, each rule is right."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from examples.boards.alerts import ALERTS, PREFIX
from examples.boards.files import annotations
from examples.boards.recording import RULES
from tests.boards.health import (
    END,
    HEALTH,
    HOST,
    INTERVAL,
    MIB,
    WEB,
    envoy,
    growing,
    info,
    of,
    series,
    steady,
    udp,
    with_http,
)
from tests.conftest import or_cannot
from tests.examples.documents import EXAMPLES
from tests.harness.netns import CommandError
from tests.harness.prometheus import promtool

FILES = EXAMPLES / "prometheus"
CLUSTER = ("envoy_cluster_name", "web-dev-8080")
DNS = {"service": "dns"}


class Case(NamedTuple):
    """``changes`` of HEALTH, and what fires then: its labels, and what ``{{ $value }}`` is in its words."""

    changes: Mapping[str, str]
    labels: Mapping[str, str]
    value: str = ""
    job: str = "envoy-docker-shim"


NOTHING_SCRAPED = {name: "" for name in HEALTH if 'job="node"' not in name}
REGISTRAR_AWAY = {name: "" for name in HEALTH if 'job="envoy-docker-shim"' in name}
CASES = {
    "EnvoyGone": Case(
        {**NOTHING_SCRAPED, of("up", "envoy"): steady(0), of("up"): steady(0)}, {}, job="envoy"
    ),
    "RegistrarGone": Case({**REGISTRAR_AWAY, of("up"): steady(0)}, {}),
    "NoEnvoyConnected": Case(
        {
            of("envoy_docker_shim_envoys"): steady(0),
            of("envoy_docker_shim_bindings", state="published"): steady(3),
        },
        {},
    ),
    "ConfigurationRefused": Case(
        {of("envoy_docker_shim_envoy_current", node="n", kind="clusters"): steady(0)},
        {"node": "n", "kind": "clusters"},
    ),
    "PortsRejected": Case(
        {of("envoy_docker_shim_bindings", state="rejected"): steady(2)}, {"state": "rejected"}, "2"
    ),
    "PortsNotServed": Case(
        {of("envoy_docker_shim_bindings", state="pending"): steady(5)}, {"state": "pending"}, "5"
    ),
    "DockerUnreachable": Case({of("envoy_docker_shim_docker_reachable"): steady(0)}, {}),
    "NotSettled": Case({of("envoy_docker_shim_settled"): steady(0)}, {}),
    "FirewallNotWhole": Case({of("envoy_docker_shim_firewall_whole"): steady(0)}, {}),
    "FirewallFought": Case({of("envoy_docker_shim_firewall_restorations_total"): growing(0.1)}, {}),
    "ErrorRate": Case(with_http(10, 2), WEB, "20%", ""),
    "ContainerRefuses": Case({envoy("cluster_upstream_cx_connect_fail", *CLUSTER): growing(1)}, WEB, job=""),
    "UdpDropped": Case({udp("dropped_total", reason="no_room"): growing(4)}, DNS, "4", ""),
    "UdpNobodyListens": Case({udp("errors_total"): growing(4)}, DNS, job=""),
    "ReleasesWait": Case({of("envoy_docker_shim_releases_waiting"): steady(1)}, {}),
    "EnvoyMemory": Case({envoy("server_memory_allocated"): steady(1280 * MIB)}, {}, "1.25Gi", "envoy"),
    "RegistrarMemory": Case({of("process_resident_memory_bytes"): steady(224 * MIB)}, {}, "224Mi"),
    "RegistrarFiles": Case({of("process_open_fds"): steady(960)}, {}, "93.75%"),
}
# What looks like trouble and is none.
SILENT = {
    "a host that is well": {},
    "one error in twenty-five": with_http(10, 0.4),
    "one request in a minute, and it fails": with_http(0.02, 0.02),
    "no firewall is wanted": {
        of("envoy_docker_shim_firewall_whole"): steady(0),
        of("envoy_docker_shim_firewall_addresses"): steady(0),
    },
    "Docker restarts for a minute": {
        of("envoy_docker_shim_docker_reachable"): "1+0x20 0+0x3 1+0x15",
        of("envoy_docker_shim_settled"): "1+0x20 0+0x3 1+0x15",
    },
    "the registrar restarts": {
        name: re.sub(r"^(\S+)x40$", r"\1x20 _x2 \1x17", values)
        for name, values in HEALTH.items()
        if 'job="envoy-docker-shim"' in name
    },
    "a port is busy for a minute": {
        of("envoy_docker_shim_bindings", state="rejected"): "0+0x20 1+0x3 0+0x15",
        of("envoy_docker_shim_bindings", state="published"): "0+0x20 1+0x3 0+0x15",
    },
    "others took the firewall's table away once": {
        of("envoy_docker_shim_firewall_restorations_total"): "1+0x20 2+0x19"
    },
}
FIGURES: dict[str, tuple[tuple[float, Mapping[str, str]], ...]] = {
    "http_requests:rate5m": ((10, WEB),),
    "http_errors:ratio5m": ((0.2, WEB),),
    "http_latency_ms:p50_5m": ((10, WEB),),
    "http_latency_ms:p95_5m": ((100, WEB),),
    "http_latency_ms:p99_5m": ((1000, WEB),),
    "connections:active": ((7, WEB),),
    "connections:rate5m": ((4, WEB),),
    "bytes_in:rate5m": ((1000, WEB), (300, {**WEB, "service": "db"}), (500, DNS)),
    "bytes_out:rate5m": ((2000, WEB), (400, {**WEB, "service": "db"}), (600, DNS)),
    "connect_failures:rate5m": ((1, WEB),),
    "udp_datagrams_in:rate5m": ((20, DNS),),
    "udp_datagrams_out:rate5m": ((30, DNS),),
    "udp_dropped:rate5m": ((4, DNS),),
    "udp_errors:rate5m": ((0, DNS),),
}


def check(tmp_path: Path, tests: list[dict[str, Any]]) -> None:
    """`promtool test rules`."""
    file = tmp_path / "tests.yml"
    document = {
        "rule_files": [str(FILES / "rules.yml"), str(FILES / "alerts.yml")],
        "evaluation_interval": f"{INTERVAL}s",
        "tests": [{"interval": f"{INTERVAL}s", **test} for test in tests],
    }
    file.write_text(yaml.safe_dump(document))
    tool("test", "rules", file)


def tool(*args: str | Path) -> str:
    return or_cannot(promtool, *args)


def told(name: str) -> dict[str, Any]:
    """The alert of a case, as Prometheus shows it."""
    (alert,) = [alert for alert in ALERTS if alert.name == name]
    case = CASES[name]
    labels = {"instance": HOST, **({"job": case.job} if case.job else {}), **case.labels}
    found = {}
    for key, text in annotations(alert).items():
        text = re.sub(r"{{ with \$labels\.(\w+) }}(.*?){{ end }}", lambda m: _with(m, labels), text)
        text = re.sub(r"{{ \$labels\.(\w+) }}", lambda m: labels[m[1]], text)
        found[key] = re.sub(r"{{ \$value[^}]* }}", case.value, text)
    return {"exp_labels": {"severity": alert.severity, **labels}, "exp_annotations": found}


def _with(match: "re.Match[str]", labels: Mapping[str, str]) -> str:
    value = labels.get(match[1], "")
    return match[2].replace("{{ . }}", value) if value else ""


def expected(moment: str, firing: str = "") -> list[dict[str, Any]]:
    """Of all alerts just this one fires."""
    return [
        {
            "eval_time": moment,
            "alertname": f"{PREFIX}{alert.name}",
            "exp_alerts": [told(firing)] if alert.name == firing else [],
        }
        for alert in ALERTS
    ]


def test_prometheus_takes_the_files() -> None:
    said = tool("check", "config", FILES / "prometheus.yml")
    assert f"SUCCESS: {len(RULES)} rules found" in said and f"SUCCESS: {len(ALERTS)} rules found" in said
    for name in ("rules.yml", "alerts.yml"):
        tool("check", "rules", "--lint-fatal", FILES / name)


def test_each_alert_has_a_case() -> None:
    assert list(CASES) == [alert.name for alert in ALERTS]


def test_each_alert_fires_on_what_it_is_for_and_no_other_does(tmp_path: Path) -> None:
    """And not before its time: with a fault from the start on, silent a little before, told after it."""
    tests = []
    for alert in ALERTS:
        waits = int(alert.wait.removesuffix("m"))
        early = expected(f"{waits * 60 - INTERVAL}s") if waits else []
        tests.append(
            {
                "name": alert.name,
                "input_series": series(CASES[alert.name].changes),
                "alert_rule_test": [*early, *expected(END, alert.name)],
            }
        )
    check(tmp_path, tests)


def test_none_fires_where_nothing_is_wrong(tmp_path: Path) -> None:
    moments = [f"{minute}m" for minute in range(1, 11)]
    check(
        tmp_path,
        [
            {
                "name": name,
                "input_series": series(changes),
                "alert_rule_test": [test for moment in moments for test in expected(moment)],
            }
            for name, changes in SILENT.items()
        ],
    )


def test_a_wrong_expectation_would_be_seen(tmp_path: Path) -> None:
    fault = series(CASES["NotSettled"].changes)
    with pytest.raises(CommandError, match="EnvoyDockerShimNotSettled"):
        check(tmp_path, [{"input_series": fault, "alert_rule_test": expected(END)}])


def test_each_rule_says_the_figure(tmp_path: Path) -> None:
    changes = {
        **with_http(10, 2),
        envoy("cluster_upstream_cx_connect_fail", *CLUSTER): growing(1),
        udp("dropped_total", reason="no_room"): growing(1),
        udp("dropped_total", reason="to_container"): growing(3),
    }
    assert [name.removeprefix("service:envoy_docker_shim_") for name in RULES] == list(FIGURES)
    check(tmp_path, [{"input_series": series(changes), "promql_expr_test": [*map(figure, FIGURES)]}])


def figure(name: str) -> dict[str, Any]:
    """That a rule has this value, to the hundredth."""
    return {
        "expr": f"round(service:envoy_docker_shim_{name}, 0.01)",
        "eval_time": END,
        "exp_samples": [{"labels": of("", "", **labels), "value": value} for value, labels in FIGURES[name]],
    }


def test_a_name_that_changes_hands_is_the_newcomers_and_stops_no_other(tmp_path: Path) -> None:
    """For some minutes both are known: Prometheus would refuse to answer at all."""
    changes = {
        info("web-dev-8080", "web"): "1+0x30 _x10",
        info("web-dev-8080", "other"): "_x30 1+0x9",
        info("plain-80", "plain", ""): steady(1),
        envoy("http_downstream_rq_total", "envoy_http_conn_manager_prefix", "plain-80"): growing(3),
    }
    expr = "round(sum by (environment) (service:envoy_docker_shim_http_requests:rate5m), 0.01)"
    values = [{"labels": '{environment="dev"}', "value": 10}, {"labels": "{}", "value": 3}]
    check(
        tmp_path,
        [
            {
                "input_series": series(changes),
                "promql_expr_test": [
                    {"expr": expr, "eval_time": moment, "exp_samples": values} for moment in ("7m", "9m", END)
                ],
            }
        ],
    )


def test_two_hosts_may_have_one_name_for_two_services(tmp_path: Path) -> None:
    requests = envoy("http_downstream_rq_total", "envoy_http_conn_manager_prefix", "web-dev-8080")
    other = {info("web-dev-8080", "shop"): steady(1), requests: growing(3)}
    there = {name.replace(HOST, "i:9901"): values for name, values in other.items()}
    expr = "round(sum by (instance, service) (service:envoy_docker_shim_http_requests:rate5m), 0.01)"
    values = [
        {"labels": '{instance="h:9901",service="web"}', "value": 10},
        {"labels": '{instance="i:9901",service="shop"}', "value": 3},
    ]
    test = {"expr": expr, "eval_time": END, "exp_samples": values}
    check(tmp_path, [{"input_series": series(there), "promql_expr_test": [test]}])
