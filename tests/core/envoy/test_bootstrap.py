"""shim.core.envoy.bootstrap, without an Envoy; tests/envoy validates it with one."""

import json
import re
from typing import Any

import pytest

from shim.core.discovery.subscription import HOLD
from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import (
    METADATA_KEY,
    REGISTRAR_CLUSTER,
    REQUEST_TIMEOUT,
    STAT_PATTERNS,
    STAT_PREFIXES,
    bootstrap,
)
from shim.core.envoy.local_spans import spans_cluster
from shim.core.envoy.modes import MODES
from shim.core.envoy.sinks import Sinks
from shim.core.envoy.tracing import COLLECTOR_CLUSTER, Collector
from shim.registrar.releases import ENVOY_RETURN

REGISTRAR, ADMIN = Endpoint("127.0.0.1", 7776), Endpoint("127.0.0.1", 9901)


def make(registrar: Endpoint = REGISTRAR, **more: Any) -> dict[str, Any]:
    return bootstrap("node-1", "hosts", registrar, more.pop("admin", ADMIN), **more)


def clusters(boot: dict[str, Any]) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in boot["static_resources"]["clusters"]}


def address(cluster: dict[str, Any]) -> Any:
    return cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]


def test_a_poll_that_finds_no_registrar_is_tried_again_by_its_cluster_and_soon_enough() -> None:
    [options] = clusters(make())[REGISTRAR_CLUSTER]["typed_extension_protocol_options"].values()
    policy = options["retry_policy"]
    assert set(policy["retry_on"].split(",")) == {"connect-failure", "reset"}
    # A registrar that starts gives Envoys so long to come back before it takes them to be gone.
    assert float(policy["retry_back_off"]["max_interval"].removesuffix("s")) < ENVOY_RETURN / 2
    # Each try has as long as the registrar may hold it, and all of them together have longer.
    tries, in_all = (float(text.removesuffix("s")) for text in (policy["per_try_timeout"], REQUEST_TIMEOUT))
    assert HOLD < tries < in_all / 10


def test_both_kinds_are_asked_for_by_long_poll_without_giving_up() -> None:
    dynamic = make(refresh_delay="0.1s")["dynamic_resources"]
    assert set(dynamic) == {"cds_config", "lds_config"}
    for source in dynamic.values():
        assert source["initial_fetch_timeout"] == "0s"
        api = source["api_config_source"]
        assert (api["api_type"], api["cluster_names"]) == ("REST", [REGISTRAR_CLUSTER])
        assert (api["refresh_delay"], api["request_timeout"]) == ("0.1s", REQUEST_TIMEOUT)


@pytest.mark.parametrize(
    ("registrar", "kind", "wanted"),
    [
        (
            Endpoint("127.0.0.1", 7776),
            "STATIC",
            {"socket_address": {"address": "127.0.0.1", "port_value": 7776}},
        ),
        (Endpoint("::1", 7776), "STATIC", {"socket_address": {"address": "::1", "port_value": 7776}}),
        (
            Endpoint("host.test", 1),
            "STRICT_DNS",
            {"socket_address": {"address": "host.test", "port_value": 1}},
        ),
        (Endpoint(path="/run/x.sock"), "STATIC", {"pipe": {"path": "/run/x.sock"}}),
    ],
)
def test_the_registrar_may_be_an_ip_a_name_or_a_unix_socket(
    registrar: Endpoint, kind: str, wanted: dict[str, Any]
) -> None:
    cluster = clusters(make(registrar))[REGISTRAR_CLUSTER]
    assert cluster["type"] == kind
    assert address(cluster) == wanted


@pytest.mark.parametrize(("kind", "http2"), [("otlp", True), ("zipkin", False)])
def test_a_collector_is_spoken_to_over_http2_only_when_it_is_grpc(kind: str, http2: bool) -> None:
    cluster = clusters(make(collector=Collector(kind, Endpoint("jaeger", 4317))))[COLLECTOR_CLUSTER]
    assert cluster["type"] == "STRICT_DNS"
    assert ("http2_protocol_options" in json.dumps(cluster)) is http2


def test_without_a_collector_there_is_no_cluster_for_one() -> None:
    assert list(clusters(make())) == [REGISTRAR_CLUSTER]


@pytest.mark.parametrize(
    ("admin", "wanted"),
    [(ADMIN, "127.0.0.1:9901"), (Endpoint("::1", 9901), "[::1]:9901")],
    ids=["IPv4", "IPv6"],
)
def test_the_registrar_is_told_where_the_admin_is(admin: Endpoint, wanted: str) -> None:
    boot = make(admin=admin)
    assert boot["node"]["metadata"] == {METADATA_KEY: {"admin": wanted}}
    assert boot["admin"]["address"]["socket_address"]["address"] == admin.host


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        *[(f"{mode.statistics}.web-prod-80.any_at_all", True) for mode in MODES.values()],
        ("tracing.opentelemetry.spans_sent", True),
        ("http1.metadata_not_supported_error", False),
        ("cluster.web-prod-80.upstream_rq_5xx", True),
        ("cluster.web-prod-80.upstream_rq_503", True),
        ("cluster.web-prod-80.upstream_cx_connect_fail", True),
        ("cluster.web-prod-80.upstream_rq_time", True),
        ("cluster.web-prod-80.internal.upstream_rq_503", False),
        ("cluster.web-prod-80.lb_zone_routing_all_directly", False),
        ("listener.web-prod-80.downstream_cx_total", True),
        ("listener.web-prod-80.worker_0.downstream_cx_total", False),
        ("listener_manager.lds.update_rejected", True),
        ("cluster_manager.cds.update_success", True),
    ],
)
def test_of_all_statistics_those_an_operator_needs_are_kept(name: str, kept: bool) -> None:
    found = name.startswith(STAT_PREFIXES) or any(re.fullmatch(pattern, name) for pattern in STAT_PATTERNS)
    assert found is kept


def test_no_part_appears_twice_so_that_yaml_needs_no_anchors() -> None:
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if isinstance(value, (dict, list)) and value:
            assert id(value) not in seen
            seen.add(id(value))
            for item in value.values() if isinstance(value, dict) else value:
                visit(item)

    sinks = Sinks(Endpoint("10.0.0.1", 4317), Endpoint("10.0.0.1", 8125))
    admin, scrape = Endpoint(path="/run/envoy/admin.sock"), Endpoint("127.0.0.1", 9901)
    visit(
        make(
            admin=admin, scrape=scrape, sinks=sinks, collector=Collector("zipkin", Endpoint("10.0.0.1", 9411))
        )
    )


def test_local_traces_want_longer_batches_and_no_collector() -> None:
    """What they want of clusters comes by discovery: an Envoy without this serves them too."""
    local, without = make(collector=Collector("local", kept=2000)), make()
    (layer,) = local["layered_runtime"]["layers"]
    for key in ("flush_interval_ms", "min_flush_spans"):
        assert layer["static_layer"].pop(f"tracing.opentelemetry.{key}") > 5
    assert local == without


@pytest.mark.parametrize("api", [REGISTRAR, Endpoint(path="/run/api.sock"), Endpoint("host.test", 1)])
def test_spans_go_where_discovery_is_and_never_in_its_way(api: Endpoint) -> None:
    cluster = spans_cluster(api)
    registrar = clusters(make(api))[REGISTRAR_CLUSTER]
    assert (address(cluster), cluster["type"]) == (address(registrar), registrar["type"])
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    assert limits["max_connections"] == 1
