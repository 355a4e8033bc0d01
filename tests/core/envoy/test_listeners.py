"""Listeners, clusters and tracing, without an Envoy; tests/envoy shows that Envoy does as told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.endpoint import Endpoint
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import MODES
from shim.core.envoy.tracing import ATTRIBUTES, Collector, escape_format, service_for
from shim.core.envoy.upstreams import ENDPOINTS_TYPE, cluster_load_assignment
from shim.core.service import Service
from tests.builders import make_cluster, make_listener

OTLP = Collector("otlp", Endpoint("c", 4317))
ZIPKIN = Collector("zipkin", Endpoint("zipkin.test", 9411))
OPTIONS = [
    HttpOptions(),
    HttpOptions(trusted_hops=2),
    HttpOptions(OTLP),
    HttpOptions(OTLP._replace(sampling=12.5)),
    HttpOptions(ZIPKIN),
    HttpOptions(ZIPKIN._replace(sampling=0.0)),
]
PLACEHOLDERS = {
    "name": "@NAME@",
    "ip": "@IP@",
    "stat_prefix": "@STAT@",
    "cluster": "@CLUSTER@",
    "origin": "@ORIGIN@",
    "service": Service(*(f"@{field}@" for field in Service._fields)),
}


def strings(value: Any) -> Iterator[str]:
    """Every string that is a value somewhere in it."""
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def manager(listener: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def made(mode: str = "http", options: HttpOptions = HttpOptions(), **changes: Any) -> dict[str, Any]:  # noqa: B008
    return make_listener(mode, **{"port": 80, "options": options, **PLACEHOLDERS, **changes})


def http(options: HttpOptions = HttpOptions(), **changes: Any) -> dict[str, Any]:  # noqa: B008 (immutable)
    return made("http", options, **changes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_listener_made_from_placeholders_becomes_any_other_by_replacing_bytes(
    options: HttpOptions, mode: str
) -> None:
    real = Service(*(f'we"b@sha256:{field}' for field in Service._fields))
    wanted = make_listener(
        mode, "tcp/[::]:80", "::", 80, "we_b-80", "we_b-80", real, options, origin="0123456789ab-80"
    )
    text = json.dumps(made(mode, options))
    texts = {"@NAME@": "tcp/[::]:80", "@IP@": "::", "@STAT@": "we_b-80", "@CLUSTER@": "we_b-80"}
    texts["@ORIGIN@"] = "0123456789ab-80"
    texts |= {f"@{field}@": value for field, value in real._asdict().items()}
    for placeholder, value in texts.items():
        text = text.replace(placeholder, json.dumps(value)[1:-1])
    assert text == json.dumps(wanted)


@pytest.mark.parametrize("mode", MODES)
def test_a_cluster_made_from_placeholders_becomes_any_other(mode: str) -> None:
    text = json.dumps(make_cluster(mode, "@N@", "@I@", 1))
    assert json.loads(text.replace("@N@", "n").replace("@I@", "::1")) == make_cluster(mode, "n", "::1", 1)


@pytest.mark.parametrize("options", OPTIONS)
@given(service=st.builds(Service, **dict.fromkeys(Service._fields, st.text(min_size=1))))
def test_any_texts_make_json_and_appear_verbatim(options: HttpOptions, service: Service) -> None:
    listener = http(options, service=service)
    assert json.loads(json.dumps(listener)) == listener
    if options.tracing is not None:
        found = list(strings(manager(listener)["tracing"]))
        assert all(getattr(service, field) in found for field in ATTRIBUTES.values())


@pytest.mark.parametrize("tracing", [OTLP, ZIPKIN], ids=["otlp", "zipkin"])
@given(service=st.builds(Service, **dict.fromkeys(Service._fields, st.sampled_from(["", "x"]))))
def test_an_attribute_is_there_exactly_where_its_text_is_not_empty(
    tracing: Collector, service: Service
) -> None:
    text = json.dumps(manager(http(HttpOptions(tracing), service=service))["tracing"])
    named = {attribute for attribute in ATTRIBUTES if f'"{attribute}"' in text}
    # With OTLP the name has a field of its own.
    wanted = {a for a, field in ATTRIBUTES.items() if getattr(service, field)}
    assert named == (wanted - {"service.name"} if tracing is OTLP else wanted)


@given(text=st.text(alphabet="%REQ(:METHOD)ab"))
def test_escaped_text_holds_no_format_command(text: str) -> None:
    escaped = escape_format(text)
    assert "%" not in escaped.replace("%%", "")
    assert escaped.replace("%%", "%") == text


def test_only_zipkins_format_strings_need_escaping() -> None:
    service = Service(*(f"{field}%" for field in Service._fields))
    assert service_for(service, None) is service
    assert service_for(service, OTLP) is service
    escaped = service_for(service, ZIPKIN)
    for field in ATTRIBUTES.values():
        assert getattr(escaped, field) == f"{field}%%"


@pytest.mark.parametrize("tracing", [OTLP, ZIPKIN], ids=["otlp", "zipkin"])
def test_every_span_says_its_host(tracing: Collector) -> None:
    found = list(strings(manager(http(HttpOptions(tracing._replace(host_name="host-1"))))["tracing"]))
    assert found.count("host-1") == 1
    assert "host.name" not in json.dumps(http(HttpOptions(tracing)))


@pytest.mark.parametrize(
    ("options", "wanted"), [(HttpOptions(), None), (HttpOptions(trusted_hops=1), 1)], ids=["none", "one"]
)
def test_trusted_hops_are_said_only_when_there_are_any(options: HttpOptions, wanted: int | None) -> None:
    assert manager(http(options)).get("xff_num_trusted_hops") == wanted


@pytest.mark.parametrize(
    ("tracing", "from_request_id"),
    [
        (None, True),
        (OTLP, False),
        (OTLP._replace(sampling=1.0), False),
        (ZIPKIN, False),
        (ZIPKIN._replace(sampling=1.0), True),
    ],
)
def test_only_zipkin_below_all_draws_its_sample_from_the_request_id(
    tracing: Collector | None, from_request_id: bool
) -> None:
    extension = manager(http(HttpOptions(tracing)))["request_id_extension"]["typed_config"]
    assert extension["pack_trace_reason"] is False
    assert extension.get("use_request_id_for_trace_sampling", True) is from_request_id


@pytest.mark.parametrize("percent", [0.0, 0.01, 12.5, 99.99])
def test_a_sampling_rate_below_all_is_said_exactly(percent: float) -> None:
    otlp = manager(http(HttpOptions(OTLP._replace(sampling=percent))))["tracing"]
    parent = otlp["provider"]["typed_config"]["sampler"]["typed_config"]
    ratio = parent["wrapped_sampler"]["typed_config"]["sampling_percentage"]
    assert ratio["denominator"] == "MILLION"
    assert ratio["numerator"] / 10_000 == percent
    zipkin = manager(http(HttpOptions(ZIPKIN._replace(sampling=percent))))["tracing"]
    assert zipkin["random_sampling"] == {"value": percent}


def test_at_all_there_is_no_sampler_to_say() -> None:
    assert "sampler" not in manager(http(HttpOptions(OTLP)))["tracing"]["provider"]["typed_config"]
    assert "random_sampling" not in manager(http(HttpOptions(ZIPKIN)))["tracing"]


@pytest.mark.parametrize("mode", MODES)
def test_freebind_is_the_callers_choice(mode: str) -> None:
    assert "freebind" not in made(mode)
    assert made(mode, freebind=True)["freebind"] is True


def test_an_endpoint_answer_says_what_the_cluster_has_inline() -> None:
    answer = cluster_load_assignment("web", "172.17.0.2", 80)
    assert answer.pop("@type") == ENDPOINTS_TYPE
    for mode in MODES:
        assert make_cluster(mode, "web", "172.17.0.2", 80)["load_assignment"] == answer


def test_no_two_resources_share_a_part_that_one_could_change_for_both() -> None:
    first, second = http(HttpOptions(OTLP)), http(HttpOptions(OTLP))
    first["tcp_keepalive"]["keepalive_time"] = 1
    manager(first)["upgrade_configs"].clear()
    assert second == http(HttpOptions(OTLP))


@pytest.mark.parametrize(
    ("limit", "resource"),
    [
        (1750, http()),
        (3250, http(HttpOptions(OTLP))),
        (2800, http(HttpOptions(ZIPKIN))),
        (500, make_listener("tcp")),
        (2700, make_listener("auto")),
        (1200, make_cluster("http", "web-prod-8080", "172.17.0.2", 80)),
        (520, make_cluster("tcp", "web-prod-8080", "172.17.0.2", 80)),
    ],
    ids=["http", "otlp", "zipkin", "tcp", "auto", "http cluster", "tcp cluster"],
)
def test_a_resource_stays_small(limit: int, resource: dict[str, Any]) -> None:
    """Each LDS answer holds every listener, and costs Envoy's main thread 0.1 s a megabyte.

    With tracing it says more here than it ever does: no container is Swarm's and ECS's.
    """
    assert len(json.dumps(resource, separators=(",", ":"))) <= limit
