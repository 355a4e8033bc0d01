"""Who answers whom, with real connections through the real kernel, IPv4 and IPv6."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from shim.core.firewall.table import Served, Table
from tests.harness.host import Host
from tests.harness.wait import eventually
from tests.registrar.firewall.lab import (
    BRIDGE,
    BRIDGE6,
    CONTAINER_PORT,
    DOCKER,
    PORT,
    SECOND,
    SECOND6,
    Answering,
    Lab,
    RunningFirewall,
    parse,
)

pytestmark = pytest.mark.docker

OURS = "envoy_docker_shim"
MANY_RULES = 20_000
BOTH = frozenset([Served("0.0.0.0", PORT), Served("::", PORT)])


@pytest.fixture
def lab() -> Iterator[Lab]:
    with (
        Lab() as lab,
        Answering(lab.container, "container", "0.0.0.0", CONTAINER_PORT),
        Answering(lab.container, "container", "::", CONTAINER_PORT),
    ):
        yield lab


@pytest.fixture
def firewall(lab: Lab) -> Iterator[RunningFirewall]:
    with RunningFirewall(lab) as firewall:
        yield firewall


@contextlib.contextmanager
def envoy(lab: Lab, port: int = PORT) -> Iterator[None]:
    """Something that listens where Envoy would."""
    with Answering(lab.host, "envoy", "0.0.0.0", port), Answering(lab.host, "envoy", "::", port):
        yield


def answers(lab: Lab, *ips: str, port: int = PORT) -> set[str]:
    """Who answers the client on the network, at each of these."""
    return {lab.ask(lab.client, ip, port).who for ip in ips}


def test_clients_on_the_network_get_the_listener_and_without_it_the_container(
    lab: Lab, firewall: RunningFirewall
) -> None:
    everywhere = (Host.ip, SECOND, Host.ip6, SECOND6, BRIDGE)
    with envoy(lab):
        assert answers(lab, *everywhere) == {"container"}  # Docker's rules alone lead past it
        assert firewall.apply(Table(BOTH, local=True))
        assert answers(lab, *everywhere) == {"envoy"}
        seen = lab.ask(lab.client, Host.ip)
        assert (seen.local, seen.peer[0]) == ((Host.ip, PORT), Host.neighbour_ip)
    # Nobody was told that it died.
    assert answers(lab, *everywhere) == {"container"}
    with envoy(lab):
        assert answers(lab, *everywhere) == {"envoy"}


def test_clients_on_the_host_and_in_containers_get_the_listener(lab: Lab, firewall: RunningFirewall) -> None:
    assert firewall.apply(Table(BOTH, local=True))
    with envoy(lab):
        for ip in ("127.0.0.1", Host.ip, SECOND, BRIDGE, "::1", Host.ip6, BRIDGE6):
            assert lab.ask(lab.host, ip).who == "envoy", ip
        for ip in (Host.ip, BRIDGE, Host.ip6, BRIDGE6):
            assert lab.ask(lab.container, ip).who == "envoy", ip
    # Until the registrar has seen that it is gone they are refused; then they go Docker's way.
    for ip in (Host.ip, Host.ip6):
        with pytest.raises(ConnectionRefusedError):
            lab.ask(lab.host, ip)
        assert firewall.apply(Table(BOTH, local=False))
        assert lab.ask(lab.host, ip).who == "container"
        assert firewall.apply(Table(BOTH, local=True))


def test_a_single_address_is_served_and_the_other_on_its_port_is_not(
    lab: Lab, firewall: RunningFirewall
) -> None:
    only = frozenset([Served(SECOND, PORT), Served(SECOND6, PORT)])
    with envoy(lab):
        assert firewall.apply(Table(only, local=True))
        assert answers(lab, SECOND, SECOND6) == {"envoy"}
        assert answers(lab, Host.ip, Host.ip6) == {"container"}
        assert lab.ask(lab.host, SECOND).who == "envoy"
        assert lab.ask(lab.host, Host.ip).who == "container"


def test_a_strict_table_refuses_while_nobody_listens(lab: Lab, firewall: RunningFirewall) -> None:
    assert firewall.apply(Table(BOTH, fail_open=False))
    with envoy(lab):
        assert answers(lab, Host.ip, Host.ip6) == {"envoy"}
        assert lab.ask(lab.host, Host.ip).who == "envoy"
    for source in (lab.client, lab.host):
        for ip in (Host.ip, Host.ip6):
            with pytest.raises(ConnectionRefusedError):
                lab.ask(source, ip)


def test_published_ports_pass_the_input_chain(lab: Lab, firewall: RunningFirewall) -> None:
    assert firewall.apply(Table(BOTH, local=True))
    drop = f'iifname "eth0" tcp dport {PORT} reject with tcp reset'
    with envoy(lab):
        lab.load(f"table inet own {{ chain input {{ type filter hook input priority filter; {drop}; }}; }}")
        for ip in (Host.ip, Host.ip6):
            with pytest.raises(ConnectionRefusedError):
                lab.ask(lab.client, ip)
            assert lab.ask(lab.host, ip).who == "envoy"


def test_a_port_published_on_loopback_is_not_reached_from_outside(
    lab: Lab, firewall: RunningFirewall
) -> None:
    # The client sends to 127.0.0.1 by the wire, which takes some doing.
    client = lab.client
    client.run("sh", "-c", "echo 1 | tee /proc/sys/net/ipv4/conf/*/route_localnet")
    client.run("ip", "rule", "add", "pref", "10", "lookup", "local")
    client.run("ip", "rule", "del", "pref", "0")
    client.run("ip", "rule", "add", "pref", "1", "to", "127.0.0.1", "ipproto", "tcp", "lookup", "99")
    client.run("ip", "route", "add", "127.0.0.1", "via", Host.ip, "src", Host.neighbour_ip, "table", "99")
    assert firewall.apply(Table(BOTH, local=True))
    with Answering(lab.host, "envoy", "127.0.0.1", 9000), envoy(lab):
        assert lab.ask(lab.host, "127.0.0.1", 9000).who == "envoy"
        with pytest.raises(ConnectionRefusedError):
            lab.ask(client, Host.ip, 9000)
        lab.load("""
            table inet own { chain seen { type filter hook prerouting priority raw;
              iifname "eth0" ip daddr 127.0.0.1 counter name arrived
            }; counter arrived { }; }
        """)
        for port in (9000, PORT):
            with pytest.raises(TimeoutError):
                lab.ask(client, "127.0.0.1", port, timeout=0.5)
        assert "packets 0 " not in lab.host.run("nft", "list", "counter", "inet", "own", "arrived")


def test_a_client_that_uses_its_port_again_still_gets_the_listener(
    lab: Lab, firewall: RunningFirewall
) -> None:
    """The listener closes first, so what is left of the connection is on the host."""

    def ask_from(port: int) -> str:
        with lab.client.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((Host.neighbour_ip, port))
            sock.connect((Host.ip, PORT))
            with sock.makefile() as stream:
                answer = parse(stream.readline())
                assert stream.readline() == ""
            return answer.who

    assert firewall.apply(Table(BOTH, local=True))
    with envoy(lab):
        assert [ask_from(40000) for _ in range(4)] == ["envoy"] * 4
    assert firewall.apply(Table(BOTH, local=False))
    assert ask_from(40000) == "container"


@contextlib.contextmanager
def asking(lab: Lab) -> Iterator[list[str]]:
    """Clients of both IP versions that ask without pause: who answered each time, or what else came of it."""
    seen: list[str] = []
    ended = threading.Event()

    def keep_asking(ip: str) -> None:
        while not ended.is_set():
            try:
                seen.append(lab.ask(lab.client, ip).who)
            except (OSError, ValueError) as error:
                seen.append(repr(error))

    threads = [threading.Thread(target=keep_asking, args=(ip,)) for ip in (Host.ip, Host.ip6)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_nothing_flickers_while_the_table_is_replaced_and_changed(
    lab: Lab, firewall: RunningFirewall
) -> None:
    tables = [
        Table(BOTH | {Served("0.0.0.0", 20000 + n) for n in range(100)}, local=True, fail_open=odd)
        for n in range(50)
        for odd in (True, False)
    ]
    with envoy(lab):
        assert firewall.apply(Table(BOTH, local=True))
        with asking(lab) as seen:
            for table in tables:
                assert firewall.apply(table)  # every one replaces the whole table
                assert firewall.apply(table._replace(served=BOTH))
    assert set(seen) == {"envoy"}
    assert len(seen) > 200


def test_a_flush_loses_no_connection_to_rules_that_came_later(lab: Lab, firewall: RunningFirewall) -> None:
    """The kernel takes tables off one by one, the oldest first: many rules in between are time."""
    rules = "; ".join(["tcp dport 1 accept"] * MANY_RULES)
    assert firewall.apply(Table(BOTH, local=True))
    lab.load(f"delete table inet like_docker\ntable inet many {{ chain long {{ {rules}; }}; }}\n{DOCKER}")
    eventually(lambda: tables_in(lab) == ["many", "like_docker", OURS], what="it is the youngest")
    with envoy(lab), asking(lab) as seen:
        eventually(lambda: len(seen) > 50)
        lab.load("flush ruleset")
        many = len(seen) + 50
        eventually(lambda: len(seen) > many)
    assert set(seen) == {"envoy"}


def tables_in(lab: Lab) -> list[str]:
    """The tables' names, the oldest first."""
    return [line.split()[2] for line in lab.host.run("nft", "list", "tables").splitlines()]


def test_what_others_map_is_as_before_beside_it_and_afterwards(lab: Lab, firewall: RunningFirewall) -> None:
    lab.load("""
        table inet own {
          chain prerouting { type nat hook prerouting priority dstnat; policy accept;
            tcp dport 9001 redirect to :9100
            tcp dport 9002 meta nfproto ipv4 dnat ip to 172.17.0.2:80
          }
        }
    """)
    # Its first look at the kernel adds and deletes the table, uncommitted: a listing just then shows it.
    eventually(lambda: firewall.status.active, 10, "it has looked")
    before = lab.ruleset()
    assert firewall.apply(Table(BOTH, local=True))
    with envoy(lab), Answering(lab.host, "redirected", "0.0.0.0", 9100):
        assert lab.ask(lab.client, Host.ip, 9001).who == "redirected"
        assert lab.ask(lab.client, Host.ip, 9002).who == "container"
        assert lab.ask(lab.client, Host.ip).who == "envoy"
        assert firewall.apply(None)
        assert lab.ruleset() == before
        assert lab.ask(lab.client, Host.ip).who == "container"
