"""Each check of `doctor`: silent about a healthy host, and not about one with the fault it is for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from shim.core.binding import Address
from shim.core.doctor.checks import CHECKS
from shim.core.doctor.facts import (
    Bootstrap,
    Collector,
    Container,
    DaemonFile,
    Docker,
    Dockerd,
    Envoy,
    Facts,
    Host,
    Ingress,
    Network,
    Process,
    ProxyFile,
    Published,
    Registrar,
    Rules,
    Settings,
    Shim,
    Unit,
    Unknown,
)
from shim.core.doctor.finding import listed
from shim.core.doctor.report import FOUND, OK, UNKNOWN, as_json, as_text, examine, healthy
from shim.core.endpoint import Endpoint
from shim.core.envoy_versions import OLDEST
from shim.core.firewall.table import Served
from shim.core.ruleset import iptables_rules
from shim.core.ruleset.iptables_rules import Mapped

FILE = "/usr/local/bin/envoy-docker-shim"
WEB = Address("tcp", "0.0.0.0", 8080)
DNAT = Mapped("DOCKER", "tcp", "", 8080, "172.17.0.2:80", "iptables", "-A DOCKER -p tcp --dport 8080")
MASQUERADES = """\
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.16.0.0/12 ! -o docker0 -j MASQUERADE
COMMIT
"""


def binding(**fields: Any) -> Mapping[str, Any]:
    return {
        "protocol": "tcp",
        "address": "0.0.0.0",
        "port": 8080,
        "backend": "172.17.0.2:80",
        "pid": 9,
        "state": "serving",
        "mode": "http",
        "service": "web",
        "cluster": "web-8080",
        "network": {"by": "envoy", "why": ""},
        "rejected_by": {},
        "problem": "",
        **fields,
    }


def envoy_of(**fields: Any) -> Mapping[str, Any]:
    current = {"acknowledged": "1", "current": True}
    found = {"node": "vm", "user": 990, "trusted": True, "refuses": False, "rejected": {}}
    return {**found, "listeners": current, "clusters": current, **fields}


def status(*bindings: Mapping[str, Any], **fields: Any) -> Mapping[str, Any]:
    firewall = {"wanted": True, "active": True, "whole": True, "reason": "", "docker_rules": True}
    return {"bindings": bindings or [binding()], "envoys": [envoy_of()], "firewall": firewall, **fields}


def unit(name: str, active: str = "active", sub: str = "running", enabled: str = "enabled") -> Unit:
    return Unit(name, True, active, sub, enabled, "success")


def units(**fields: Any) -> dict[str, Unit]:
    """Both; ``fields`` are other ones of Envoy's."""
    return {
        "envoy-docker-shim.service": unit("envoy-docker-shim.service"),
        "envoy.service": unit("envoy.service")._replace(**fields),
    }


REGISTRAR = Process(7, "python3", ("python3", "-IS", FILE, "server"), 1000.0, 524288, 0)
ENVOY = Process(8, "envoy", ("envoy", "-c", "/etc/e.yaml"), 1000.0, 524288, 1 << 10)
CONTAINER = Container(
    "web",
    frozenset(["172.17.0.2"]),
    frozenset(["bridge"]),
    (Published(WEB, "web", 80),),
    frozenset([("0.0.0.0", 80)]),
)
NETWORK = Network("bridge", "docker0", ("172.17.0.0/16",), False, True, True)
HEALTHY = Facts(
    Settings(
        *("", "/etc/envoy-docker-shim.yaml", 500.0, Endpoint(path="/run/api.sock")),
        *(Endpoint(path="/run/envoy/admin.sock"), Endpoint("127.0.0.1", 9901), ()),
        *("unix:///var/run/docker.sock", True),
    ),
    Host(
        kernel=(6, 1),
        python=(3, 11),
        nft=True,
        now=5000.0,
        clock="1970-01-01 01:23 UTC",
        file=FILE,
        file_time=400.0,
        cache="/var/cache/envoy-docker-shim",
        cache_free=1 << 30,
        forwarding=True,
        first_free_port=1024,
        interfaces=("eth0",),
        listening=frozenset([("0.0.0.0", 8080), ("::", 8080)]),
        tasks=(10, 0),
    ),
    Rules(tuple(iptables_rules.parse(MASQUERADES, 4)), (DNAT,), frozenset([Served("0.0.0.0", 8080)])),
    Docker((28, 5), False, (CONTAINER,), (NETWORK,), ()),
    Dockerd(
        Process(6, "dockerd", ("dockerd",), 900.0),
        {},
        DaemonFile("/etc/docker/daemon.json", {"userland-proxy-path": FILE}),
        ProxyFile(FILE, True, True, True),
    ),
    (Shim(9, WEB, True),),
    Registrar(status(), REGISTRAR),
    Envoy(
        ENVOY, Endpoint(path="/run/envoy/admin.sock"), ENVOY, ENVOY, {}, Bootstrap("/etc/e.yaml", True, 900.0)
    ),
    units(),
)
STRICT = replace(
    HEALTHY.dockerd,
    file=DaemonFile("/etc/docker/daemon.json", {"iptables": False, "userland-proxy-path": FILE}),
)
Change = Callable[[Facts], Facts]


def of(part: str, **fields: Any) -> Change:
    """Another value of a part's fields."""

    def change(facts: Facts) -> Facts:
        old = getattr(facts, part)
        new = old._replace(**fields) if hasattr(old, "_replace") else replace(old, **fields)
        return replace(facts, **{part: new})

    return change


def with_(**parts: Any) -> Change:
    return lambda facts: replace(facts, **parts)


def told(*bindings: Mapping[str, Any], **fields: Any) -> Change:
    """Another answer of the registrar."""
    return of("registrar", status=status(*bindings, **fields))


def counted(**counters: int) -> Change:
    """Envoy's statistics of the service; ``upstream_`` are its cluster's."""
    places = {name: "cluster" if name.startswith("upstream") else "http" for name in counters}
    return of("envoy", stats={f"{places[name]}.web-8080.{name}": count for name, count in counters.items()})


def listens(*places: tuple[str, int]) -> Change:
    return of("docker", containers=(CONTAINER._replace(listens=frozenset(places)),))


def both(*changes: Change) -> Change:
    def change(facts: Facts) -> Facts:
        for one in changes:
            facts = one(facts)
        return facts

    return change


CASES: list[tuple[str, Change, str]] = [
    ("kernel", of("host", kernel=(5, 4)), "the kernel is 5.4"),
    ("python", of("host", python=(3, 9)), "python3 is 3.9"),
    ("nft", of("host", nft=False), "there is no nft"),
    ("clock", of("host", now=-5000.0), "before /usr/local/bin"),
    ("cache", of("host", cache_free=5 << 20), "has 5 MB left"),
    ("tasks", of("host", tasks=(4600, 4915)), "4600 of the 4915 processes"),
    ("files", of("envoy", process=ENVOY._replace(files=1024)), "Envoy (process 8) may have 1024 files"),
    ("files", of("registrar", listener=REGISTRAR._replace(files=64)), "the registrar (process 7)"),
    (
        "low-ports",
        both(
            with_(shims=(Shim(9, Address("tcp", "::", 80), True),)),
            of("envoy", process=ENVOY._replace(capabilities=0)),
        ),
        "tcp/[::]:80",
    ),
    ("docker", with_(docker=Unknown("Permission denied")), "Permission denied"),
    ("docker", of("docker", version=(19, 3)), "Docker Engine is 19.3"),
    ("daemon-json", of("dockerd", flags={"userland-proxy-path": FILE}), "both in"),
    ("userland-proxy", of("dockerd", flags={"userland-proxy": "false"}), "starts no shims"),
    ("proxy-path", of("dockerd", proxy=None), "is not set"),
    ("swarm", of("docker", ingress=(Ingress("shop", 80),)), "port 80 of shop"),
    ("shims", with_(shims=()), "1 published ports have no shim: tcp/0.0.0.0:8080 (web)"),
    (
        "shims",
        both(with_(shims=()), of("dockerd", proxies=2)),
        "restart Docker: it runs with settings from before",
    ),
    ("old-shims", with_(shims=(Shim(9, WEB, False),)), "another version"),
    ("live-restore", of("docker", live_restore=True), "absent in"),
    ("live-restore", of("dockerd", flags={"live-restore": "true"}), "off in dockerd"),
    ("container", listens(), "nothing listens on port 80 of web"),
    ("container", listens(("127.0.0.1", 80), ("::1", 80), ("0.0.0.0", 81)), "of its own 127.0.0.1, ::1 only"),
    ("known", told(binding(pid=10)), "does not know 1 shims"),
    ("ports", told(binding(rejected_by={"vm": "cannot bind: Address already in use"})), "ss -ltnp"),
    ("ports", told(binding(rejected_by={"vm": "cannot bind: Permission denied"})), "CAP_NET_BIND_SERVICE"),
    ("ports", told(binding(problem="label ProxyMode='x' is wrong")), "make the container anew"),
    ("ports", told(binding(state="published")), "tcp/0.0.0.0:8080 (web) is published"),
    ("acknowledged", told(envoys=[envoy_of(refuses=True)]), "refuses its configuration"),
    ("acknowledged", told(envoys=[envoy_of(clusters={"current": False})]), "the current clusters"),
    ("acknowledged", told(envoys=[envoy_of(version="1.9.2")]), f"install Envoy {OLDEST} or newer"),
    ("listening", of("host", listening=frozenset()), "although Envoy has acknowledged it"),
    ("envoy", told(envoys=[]), "no Envoy is connected"),
    ("envoy", told(envoys=[envoy_of(trusted=False)]), "set envoy_user: 990"),
    (
        "envoy",
        of("envoy", scrape_listener=Process(5, "node")),
        "scrape_address 127.0.0.1:9901 is taken by process 5",
    ),
    ("envoy", of("envoy", stats=Unknown("no answer within 2 s")), "does not answer on its admin"),
    (
        "registrar",
        of("registrar", status=Unknown("x"), listener=Process(5, "node")),
        "taken by process 5 (node)",
    ),
    ("bootstrap", of("envoy", bootstrap=Bootstrap("/etc/e.yaml", False, 0.0)), "--output /etc/e.yaml"),
    ("units", with_(units=units(sub="auto-restart", active="activating")), "does not stay up"),
    ("units", with_(units=units(enabled="disabled")), "after the next boot"),
    ("units", both(with_(units=units(active="inactive")), told(envoys=[])), "enable --now envoy.service"),
    ("table", of("rules", served=None), "the kernel has no table"),
    ("table", of("rules", served=frozenset([Served("0.0.0.0", 81)])), "not in table inet envoy_docker_shim"),
    (
        "table",
        told(firewall={"wanted": True, "active": False, "whole": False, "reason": "no nft program"}),
        "no nft program",
    ),
    (
        "stale-rules",
        both(of("docker", containers=()), told(bindings=[])),
        "iptables -t nat -D DOCKER -p tcp --dport 8080",
    ),
    ("egress", of("rules", tables=()), "containers on bridge (172.17.0.0/16)"),
    ("egress", of("docker", networks=(NETWORK._replace(subnets=("10.9.0.0/16",)),)), "10.9.0.0/16"),
    (
        "egress",
        both(
            of("rules", tables=()),
            of("docker", networks=(NETWORK._replace(masqueraded=False),)),
            with_(dockerd=STRICT),
        ),
        "no rule masquerades them",
    ),
    (
        "internal",
        both(
            of("docker", version=(20, 10), networks=(NETWORK._replace(internal=True),)),
            with_(dockerd=STRICT),
        ),
        "is internal, and reaches the outside world",
    ),
    (
        "collectors",
        both(
            of("settings", collectors=(Collector("metrics", Endpoint("192.0.2.9", 4317), "sink"),)),
            of("envoy", stats={"cluster.sink.upstream_cx_connect_fail": 3}),
        ),
        "Envoy cannot connect to 192.0.2.9:4317, where metrics leads: 3 attempts failed",
    ),
    ("http", counted(downstream_cx_protocol_error=3, downstream_cx_total=3), "got a 400"),
    (
        "http",
        counted(upstream_cx_protocol_error=1, downstream_rq_total=1),
        "answers of the container were none",
    ),
    ("http", counted(downstream_cx_total=9), "9 connections, and not one request"),
    (
        "http",
        both(counted(downstream_cx_total=1), told(binding(backend="172.17.0.2:22"))),
        "SSH is usual on the container's port",
    ),
]


def results(facts: Facts) -> dict[str, str]:
    """Check -> all that it found, where it found anything."""
    return {
        result.name: "; ".join(f"{f.what} -> {f.cure}" for f in result.findings)
        for result in examine(facts)
        if result.findings
    }


def test_a_healthy_host_has_nothing() -> None:
    found = examine(HEALTHY)
    assert healthy(found), found
    assert as_text(found) == f"{len(CHECKS)} checks: nothing found"


@pytest.mark.parametrize(("check", "change", "says"), CASES, ids=[f"{c}: {says}" for c, _, says in CASES])
def test_a_check_finds_its_fault(check: str, change: Change, says: str) -> None:
    found = results(change(HEALTHY))
    assert says in found.get(check, ""), found


@pytest.mark.parametrize(
    ("check", "change"),
    [
        # Served without the units' help: by `up`, or by a container.
        ("units", with_(units=units(active="inactive", enabled="disabled"))),
        ("units", with_(units={})),
        ("http", counted(downstream_cx_protocol_error=3, downstream_cx_total=9, downstream_rq_2xx=1)),
        ("http", counted(downstream_cx_total=4)),
        ("http", both(counted(downstream_cx_protocol_error=3), told(binding(mode="tcp")))),
        ("table", both(of("rules", served=None, mapped=()))),
        ("table", both(of("rules", served=None), of("settings", firewall=False))),
        # Docker has a rule for IPv4 only, and a direct port is not for the table.
        ("table", told(binding(), binding(address="::"))),
        ("table", both(of("rules", served=frozenset()), told(binding(mode="direct")))),
        ("egress", of("docker", networks=(NETWORK._replace(subnets=("10.9.0.0/16",), used=False),))),
        ("egress", of("docker", networks=(NETWORK._replace(subnets=("10.9.0.0/16",), masqueraded=False),))),
        ("internal", of("docker", version=(20, 10), networks=(NETWORK._replace(internal=True),))),
        ("low-ports", of("envoy", process=None)),
        ("listening", both(of("host", listening=frozenset()), told(binding(state="releasing")))),
        (
            "live-restore",
            both(of("docker", live_restore=True), of("dockerd", flags={"live-restore": "true"})),
        ),
    ],
)
def test_a_check_is_silent_about_what_is_no_fault(check: str, change: Change) -> None:
    (result,) = [result for result in examine(change(HEALTHY)) if result.name == check]
    assert result.state == OK, result


def test_what_cannot_be_looked_at_is_said_and_is_no_pass() -> None:
    blind = both(
        of(
            "rules",
            tables=Unknown("nft: Operation not permitted"),
            served=Unknown("nft: Operation not permitted"),
        ),
        with_(docker=Unknown("no answer within 2 s")),
        of("registrar", status=Unknown("Connection refused"), listener=None),
    )(HEALTHY)
    found = {result.name: result for result in examine(blind)}
    assert found["registrar"].state == found["docker"].state == FOUND
    for name in ("shims", "ports", "table", "input", "egress", "swarm", "acknowledged"):
        assert found[name].state == UNKNOWN, name
    assert not healthy(found.values())
    text = as_text(list(found.values()))
    assert "? not checked: " in text and "could not be made" in text
    assert {check["state"] for check in as_json(list(found.values()))["checks"]} == {OK, FOUND, UNKNOWN}


def test_not_to_be_made_alone_is_not_healthy() -> None:
    found = examine(of("rules", tables=Unknown("not root"))(HEALTHY))
    assert not healthy(found)
    assert "nothing found" in as_text(found) and "root may see more" in as_text(found)


def test_of_many_some_are_named() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdefg") == "a, b, c, d and 3 more"


def test_every_check_has_a_name_of_its_own_and_a_case() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    # The rest is seen to work on a real host only: tests/docker/doctor.
    assert set(names) - {check for check, _, _ in CASES} == {
        *("configuration", "input", "egress-table"),
    }
