"""How ports are named and served: tables of labels, and any JSON at all in a container's place."""

import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shim.core.docker.containers import addresses_of, published_by
from shim.core.docker.labels import LABELS, Label, service_of, serving_of
from shim.core.envoy.modes import MODES, Serving
from shim.core.service import Service, unnamed_service
from shim.core.text import NAME_LIMIT, printable, stat_name
from tests.builders import make_backend
from tests.harness.fake_dockerd import make_container

DEFAULT = Serving(MODES["http"])
COMPOSE = {"com.docker.compose.service": "api", "com.docker.compose.project": "shop"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
TEXTS = st.text(st.characters())


@pytest.mark.parametrize(
    ("labels", "name", "environment"),
    [
        ({}, "web-1", ""),
        ({"ServiceName": "web"}, "web", ""),
        ({"ServiceName": "web", "EnvironmentName": "dev"}, "web", "dev"),
        ({"EnvironmentName": "dev"}, "web-1", "dev"),
        (COMPOSE, "api", "shop"),
        ({**COMPOSE, "EnvironmentName": "dev"}, "api", "dev"),
        ({**COMPOSE, "ServiceName": "web"}, "web", ""),  # the project belongs to Compose's name only
        ({**COMPOSE, "ServiceName": "web", "EnvironmentName": "dev"}, "web", "dev"),
        ({"com.docker.compose.project": "shop"}, "web-1", ""),
        ({"ServiceName": ""}, "web-1", ""),
        ({"ServiceName": " \n\t\u2028\0"}, "web-1", ""),  # nothing left once it is cleaned
        ({**COMPOSE, "ServiceName": "\x7f"}, "api", "shop"),
        ({"ServiceName": "  web  "}, "web", ""),
        ({"ServiceName": "a\nb"}, "a b", ""),
        ({"ServiceName": 'say "hi" \\'}, 'say "hi" \\', ""),
        ({"ServiceName": "naïve-καφές-🦀"}, "naïve-καφές-🦀", ""),
        ({"ServiceName": "x" * 10_000}, "x" * NAME_LIMIT, ""),
        ({"ServiceName": "\n" * 10_000 + "x"}, "web-1", ""),
        ({"ServiceName": "\ud800"}, "web-1", ""),
        ({"servicename": "web"}, "web-1", ""),  # Docker's labels know upper and lower case
    ],
)
def test_a_name_comes_from_our_label_then_compose_then_the_container(
    labels: dict[str, str], name: str, environment: str
) -> None:
    service = service_of(make_container(labels=labels))
    assert (service.name, service.environment, service.container) == (name, environment, "web-1")


@pytest.mark.parametrize(
    ("label", "default", "mode", "complains"),
    [
        (None, "http", "http", False),
        (None, "tcp", "tcp", False),
        ("", "tcp", "tcp", False),
        ("  ", "tcp", "tcp", False),
        ("http", "tcp", "http", False),
        ("tcp", "http", "tcp", False),
        (" TCP\n", "http", "tcp", False),
        ("grpc", "tcp", "auto", True),
        ("tcp,http", "tcp", "auto", True),
        ("x\n" * 5_000, "tcp", "auto", True),
    ],
)
def test_an_unknown_mode_is_served_as_auto_and_complained_of_in_a_line(
    label: str | None, default: str, mode: str, complains: bool
) -> None:
    labels = {} if label is None else {"ProxyMode": label}
    serving = serving_of(make_container(labels=labels), Serving(MODES[default]))
    assert serving.mode.name == mode
    assert bool(serving.problem) is complains
    assert len(serving.problem) < 300 and serving.problem.isprintable()


@pytest.mark.parametrize(
    ("label", "default", "keeps", "complains"),
    [
        (None, False, False, False),
        (None, True, True, False),
        (" ", True, True, False),
        ("keep", False, True, False),
        (" Keep\n", False, True, False),
        ("off", True, False, False),
        ("true", True, False, True),
        ("x\n" * 5_000, False, False, True),
    ],
)
def test_clients_addresses_are_kept_only_where_the_label_or_the_default_says_so(
    label: str | None, default: bool, keeps: bool, complains: bool
) -> None:
    labels = {} if label is None else {"ClientAddress": label}
    serving = serving_of(make_container(labels=labels), DEFAULT._replace(keeps_client=default))
    assert serving.keeps_client is keeps
    assert bool(serving.problem) is complains
    assert len(serving.problem) < 300 and serving.problem.isprintable()
    both = serving_of(make_container(labels={**labels, "ProxyMode": "grpc"}), DEFAULT)
    assert ("ClientAddress" in both.problem, "ProxyMode" in both.problem) == (complains, True)


@pytest.mark.parametrize(
    ("label", "default", "word", "complains"),
    [
        (None, "off", "off", False),
        (None, "on", "on", False),
        (" ", "on", "on", False),
        (" On\n", "off", "on", False),
        ("tls", "off", "tls", False),
        ("off", "on", "off", False),
        ("yes", "on", "off", True),
    ],
)
def test_a_container_is_in_the_access_log_where_the_label_or_the_default_says_so(
    label: str | None, default: str, word: str, complains: bool
) -> None:
    labels = {} if label is None else {"AccessLog": label}
    serving = serving_of(make_container(labels=labels), DEFAULT._replace(access_log=default))
    assert (serving.access_log, bool(serving.problem)) == (word, complains)
    both = serving_of(make_container(labels={**labels, "ProxyMode": "grpc"}), DEFAULT)
    assert ("AccessLog" in both.problem, "ProxyMode" in both.problem) == (complains, True)


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ({}, "unknown"),
        ({"Names": []}, "unknown"),
        ({"Names": ["/"]}, "unknown"),
        ({"Names": ["/a", "/b/a"]}, "a"),
        ({"Names": "/a"}, "unknown"),
        ({"Id": "f" * 64}, "f" * 12),
        ({"Id": "f" * 64, "Names": ["/web"]}, "web"),
        ({"Id": "f" * 64, "Names": ["/\n"]}, "f" * 12),
        ({"Labels": ["ServiceName"], "Names": ["/web"]}, "web"),
        ({"Labels": {"ServiceName": 7}, "Names": ["/web"]}, "web"),
        ({"Labels": {"ServiceName": None}, "Names": ["/web"]}, "web"),
    ],
)
def test_where_docker_says_too_little_there_is_a_name_all_the_same(
    container: dict[str, Any], name: str
) -> None:
    assert service_of(container).name == name


def test_a_service_keeps_dockers_own_names_beside_its_own() -> None:
    service = service_of(make_container("shop-web-1", id="ab" * 32, labels={"ServiceName": "web"}))
    assert service == Service("web", "", "shop-web-1", "shop/web:1", "abababababab", "1")


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.name)
def test_each_label_sets_its_own_text_and_nothing_else(label: Label) -> None:
    bare, named = make_container(), make_container(labels={label.name: "x y"})
    (found, serving), before = (service_of(named), serving_of(named, DEFAULT)), service_of(bare)
    assert found == (before._replace(**{label.field: "x y"}) if label.field else before)
    unset = {"ProxyMode": "auto", "Tracing": "on", "Sampling": ""}
    assert label.applied(found, serving) == ("x y" if label.field else unset.get(label.name, "off"))
    assert bool(serving.problem) is not bool(label.field)


def test_no_other_label_leaves_the_machine() -> None:
    container = make_container(labels={"secret": "hunter2", "com.example.password": "hunter2"})
    assert "hunter2" not in repr((service_of(container), serving_of(container, DEFAULT)))


def test_a_port_that_nobody_knows_is_called_after_its_backend() -> None:
    assert unnamed_service(make_backend("172.17.0.9")) == Service("172.17.0.9", "", "", "")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("Labels", "Names", "Id", "Image"), JSON)))
@example({"Id": " \n"})
@example({"Id": "\ud800"})
@example({"Names": [None]})
def test_any_json_gives_a_service_that_can_be_used_as_it_is(container: dict[str, Any]) -> None:
    service, serving = service_of(container), serving_of(container, DEFAULT)
    assert service.name
    assert serving.mode in MODES.values()
    for text in (*service, serving.problem):
        assert text.isprintable() and text == text.strip()


@given(
    st.dictionaries(
        st.sampled_from(
            [*(label.name for label in LABELS), "com.docker.compose.project", "com.docker.compose.service"]
        ),
        TEXTS,
    )
)
def test_any_labels_give_short_printable_names(labels: dict[str, str]) -> None:
    for text in service_of(make_container(labels=labels)):
        assert len(text) <= NAME_LIMIT and text.isprintable()


@given(TEXTS)
def test_printable_is_idempotent_and_a_stat_name_has_nothing_that_prometheus_dislikes(text: str) -> None:
    clean = printable(text)
    assert printable(clean) == clean
    name = stat_name(text)
    assert len(name) == len(clean)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", name)


@pytest.mark.parametrize(
    ("container", "addresses"),
    [
        ({}, set()),
        (make_container(ips=("172.17.0.2", "10.0.0.2")), {"172.17.0.2", "10.0.0.2"}),
        (make_container(ips=("",)), set()),
        (
            {
                "NetworkSettings": {
                    "Networks": {"a": {"IPAddress": "1.2.3.4", "GlobalIPv6Address": "fd00::2"}}
                }
            },
            {"1.2.3.4", "fd00::2"},
        ),
        ({"NetworkSettings": {"Networks": {"a": None, "b": 7, "c": {"IPAddress": ["x"]}}}}, set()),
        ({"NetworkSettings": []}, set()),
        ({"NetworkSettings": {"Networks": [{"IPAddress": "1.2.3.4"}]}}, set()),
    ],
)
def test_a_container_has_the_addresses_of_all_its_networks(
    container: dict[str, Any], addresses: set[str]
) -> None:
    assert addresses_of(container) == addresses


@pytest.mark.parametrize(
    ("port", "published"),
    [
        ({"Type": "tcp", "PublicPort": 80}, {("tcp", 80)}),
        ({"Type": "tcp", "PrivatePort": 80}, set()),
        ({"Type": "tcp", "PublicPort": "80"}, set()),
        ({"Type": "tcp", "PublicPort": 80.5}, set()),
        ({"Type": "tcp", "PublicPort": None}, set()),
        ({"Type": "tcp", "PublicPort": True}, set()),
        (None, set()),
        ([], set()),
        ("PublicPort", set()),
    ],
)
def test_only_a_number_is_a_published_port(port: object, published: set[tuple[str, int]]) -> None:
    assert published_by({"Ports": [port]}) == published


def test_a_port_that_is_published_for_both_families_counts_once() -> None:
    assert published_by(make_container(ports=(("tcp", 80), ("tcp", 80), ("udp", 80)))) == {
        ("tcp", 80),
        ("udp", 80),
    }


@given(JSON, JSON, JSON)
@example({"Networks": math.nan}, [{"PublicPort": math.inf}], None)
def test_any_json_has_some_addresses_and_some_ports(networks: Any, ports: Any, port: Any) -> None:
    for container in (
        {"NetworkSettings": networks, "Ports": ports},
        {"NetworkSettings": {"Networks": networks}, "Ports": [{"PublicPort": port, "Type": ports}]},
        {"NetworkSettings": {"Networks": {"a": networks}}, "Ports": [port]},
    ):
        assert all(isinstance(address, str) and address for address in addresses_of(container))
        assert all(isinstance(number, int) for _, number in published_by(container))
