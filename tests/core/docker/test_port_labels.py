"""Labels for one port of a container: which of them holds, and what is said of one that is for no port."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shim.core.docker.containers import Port, ports_of
from shim.core.docker.labels import LABELS, said_of, service_of, serving_of
from shim.core.envoy.modes import FALLBACK_MODE, MODES, Serving, none_of_the_modes
from tests.harness.fake_dockerd import make_container

DEFAULT = Serving(MODES["http"])
DATABASE, WEB, DNS = Port(5432, "tcp"), Port(80, "tcp"), Port(53, "udp")
PORTS = [
    {"IP": ip, "PrivatePort": port.number, "PublicPort": 20000 + port.number, "Type": port.proto}
    for port in (DATABASE, WEB, DNS)
    for ip in ("0.0.0.0", "::")
]


def container(labels: dict[str, str]) -> dict[str, Any]:
    return {**make_container(labels=labels), "Ports": [*PORTS, {"PrivatePort": 9000, "Type": "tcp"}]}


def modes(labels: dict[str, str]) -> dict[int, str]:
    found = container(labels)
    return {port.number: serving_of(found, DEFAULT, port).mode.name for port in (DATABASE, WEB)}


def problem(labels: dict[str, str], port: Port = WEB) -> str:
    return serving_of(container(labels), DEFAULT, port).problem


@pytest.mark.parametrize(
    ("labels", "database", "web"),
    [
        ({"ProxyMode.5432": "tcp"}, "tcp", "http"),
        ({"ProxyMode.5432/tcp": "tcp"}, "tcp", "http"),
        ({"ProxyMode": "tcp", "ProxyMode.80": "http"}, "tcp", "http"),
        ({"ProxyMode": "tcp", "ProxyMode.5432": "direct"}, "direct", "tcp"),
        ({"ProxyMode.5432": "tcp", "ProxyMode.5432/tcp": "direct"}, "direct", "http"),
        ({"ProxyMode": "tcp", "ProxyMode.80": " "}, "tcp", "tcp"),
        ({"ProxyMode": "tcp", "ProxyMode.80": "grpc"}, "tcp", FALLBACK_MODE.name),
    ],
)
def test_a_ports_own_label_holds_and_the_containers_is_the_default(
    labels: dict[str, str], database: str, web: str
) -> None:
    assert modes(labels) == {5432: database, 80: web}


def test_a_port_can_have_a_name_and_an_environment_of_its_own() -> None:
    labels = {"ServiceName": "shop", "ServiceName.5432": "db", "EnvironmentName.5432/tcp": "prod"}
    found = container({**labels, "ServiceName.53/udp": "dns"})
    said = {port: service_of(found, port)[:2] for port in (DATABASE, WEB, DNS)}
    assert said == {DATABASE: ("db", "prod"), WEB: ("shop", ""), DNS: ("dns", "")}
    assert problem(labels) == ""


def test_clients_addresses_can_be_kept_for_one_port() -> None:
    found = container({"ClientAddress.5432": "keep"})
    assert [serving_of(found, DEFAULT, port).keeps_client for port in (DATABASE, WEB)] == [True, False]


def test_a_wrong_value_is_a_problem_of_that_port_alone() -> None:
    labels = {"ProxyMode.5432": "postgres"}
    assert problem(labels, WEB) == ""
    assert problem(labels, DATABASE).startswith(f"label ProxyMode.5432='postgres' is {none_of_the_modes()}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ProxyMode.81", "is for no published TCP port of the container (there: 80/tcp, 5432/tcp; not the "),
        ("ProxyMode.20080", "is for no published TCP port"),
        ("ProxyMode.9000", "is for no published TCP port"),
        ("ProxyMode.53", "is for no published TCP port"),
        ("ProxyMode.53/udp", "is for no published TCP port"),
        ("ServiceName.80/udp", "is for no published port of the container (there: 53/udp, 80/tcp, 5432/tcp"),
        ("ProxyMode.http", "names no port: write ProxyMode.80 or ProxyMode.80/tcp"),
        ("ServiceName.", "names no port: write ServiceName.80"),
        ("ServiceName.80/sctp", "names no port"),
        ("ServiceName.80.tcp", "names no port"),
        ("ServiceName.\u0661", "names no port"),
        ("ServiceName.123456", "names no port"),
        ("ServiceName.-80", "names no port"),
    ],
)
def test_a_label_for_no_port_is_a_problem_of_every_port(name: str, said: str) -> None:
    for port in (DATABASE, WEB, DNS):
        found = problem({name: "tcp"}, port)
        assert found.startswith(f"label {name}='tcp' ") and said in found
    assert modes({name: "tcp"}) == {5432: "http", 80: "http"}
    assert problem({name: " "}) == ""


def test_where_nothing_is_published_that_is_what_is_said() -> None:
    bare = {**make_container(labels={"ProxyMode.80": "tcp"}), "Ports": []}
    assert "(there: none; not the host's)" in serving_of(bare, DEFAULT).problem


@pytest.mark.parametrize("name", ["ProxyModes.80", "proxymode.80", "ProxyMode-80", "traefik.ProxyMode.80"])
def test_other_labels_are_none_of_ours(name: str) -> None:
    assert problem({name: "tcp"}) == ""
    assert modes({name: "tcp"}) == {5432: "http", 80: "http"}


def test_many_problems_are_counted() -> None:
    labels = {f"ProxyMode.{port}": "tcp" for port in range(1000, 1050)}
    assert problem({**labels, "ProxyMode": "odd"}).endswith("; and 48 more")


@given(
    st.dictionaries(
        st.builds(
            "{}.{}".format,
            st.sampled_from([label.name for label in LABELS]),
            st.sampled_from(["80", "80/tcp", "81"]) | st.text(),
        ),
        st.sampled_from(["tcp", "keep"]) | st.text(),
    )
)
@example({"ProxyMode." + "9" * 10_000: "x" * 10_000})
def test_any_labels_for_ports_give_short_lines_and_something_to_serve_by(labels: dict[str, str]) -> None:
    found = container(labels)
    for port in (DATABASE, WEB, DNS):
        serving = serving_of(found, DEFAULT, port)
        assert serving.mode in MODES.values()
        assert len(serving.problem) < 1000 and serving.problem.isprintable()
        assert all(text.isprintable() for text in service_of(found, port))


@given(
    st.dictionaries(
        st.sampled_from(["ServiceName", "ServiceName.80", "ProxyMode.5432/tcp", "ProxyMode.81", "ProxyMode"]),
        st.sampled_from(["tcp", "odd", ""]),
    )
)
def test_what_is_said_of_all_ports_at_once_is_what_is_said_of_each(labels: dict[str, str]) -> None:
    found = container(labels)
    assert said_of(found, DEFAULT, [WEB, DATABASE, DNS, WEB]) == {
        port: (service_of(found, port), serving_of(found, DEFAULT, port)) for port in (WEB, DATABASE, DNS)
    }


def test_only_published_ports_count_by_the_containers_own_number() -> None:
    assert ports_of(container({})) == {DATABASE, WEB, DNS}
    assert ports_of({"Ports": [{"PublicPort": 1, "PrivatePort": "1"}, {"PublicPort": 1}]}) == set()
    assert re.fullmatch(r"\d+/(tcp|udp)", str(DNS))
