"""ClientAddress=keep: the container sees the network client's address, and what that needs comes and goes."""

from collections.abc import Iterator

import pytest

from shim.core.firewall.table import Keeping, Served, Table
from tests.harness.host import Host
from tests.harness.wait import eventually
from tests.registrar.firewall.lab import (
    BRIDGE,
    BRIDGE6,
    CONTAINER_PORT,
    PORT,
    SECOND,
    Answering,
    Lab,
    Relaying,
    RunningFirewall,
)

pytestmark = pytest.mark.docker

ANY4, ANY6 = Served("0.0.0.0", PORT), Served("::", PORT)
BOTH = frozenset([ANY4, ANY6])
LISTENER = 9400
KEPT = Table(BOTH, {ANY4: LISTENER, ANY6: LISTENER}, local=True)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A container, and what listens where Envoy's usual listeners would."""
    with (
        Lab() as lab,
        Answering(lab.container, "container", "0.0.0.0", CONTAINER_PORT),
        Answering(lab.container, "container", "::", CONTAINER_PORT),
        Answering(lab.host, "envoy", "0.0.0.0"),
        Answering(lab.host, "envoy", "::"),
    ):
        yield lab


@pytest.fixture
def firewall(lab: Lab) -> Iterator[RunningFirewall]:
    with RunningFirewall(lab) as firewall:
        yield firewall


def routing(lab: Lab) -> list[str]:
    """What there is beside the kernel's own rules and routes."""
    found = [lab.host.run("ip", f"-{v}", "rule", "show", "priority", "7776").strip() for v in (4, 6)]
    found += [lab.host.run("ip", f"-{v}", "route", "show", "table", "all") for v in (4, 6)]
    return [line for text in found for line in text.splitlines() if "7776" in line]


def test_the_container_sees_the_network_clients_address_and_others_are_served_as_ever(
    lab: Lab, firewall: RunningFirewall
) -> None:
    host = lab.host
    with Relaying(host, "127.0.0.1", LISTENER) as v4, Relaying(host, "::1", LISTENER) as v6:
        assert firewall.apply(KEPT)
        assert firewall.status.keep_error == ""
        for ip, client in ((Host.ip, Host.neighbour_ip), (SECOND, Host.neighbour_ip)):
            seen = lab.ask(lab.client, ip)
            assert (seen.who, seen.peer[0]) == ("container", client)
        assert lab.ask(lab.client, Host.ip6).peer[0] == Host.neighbour_ip6
        # Which of the two it was: the second listener's sockets bear the published address.
        assert lab.ask(lab.client, Host.ip).local == ("172.17.0.2", CONTAINER_PORT)
        for source, ips in (
            (host, ("127.0.0.1", Host.ip, "::1", Host.ip6)),
            (lab.container, (Host.ip, BRIDGE, BRIDGE6)),
        ):
            assert {lab.ask(source, ip).who for ip in ips} == {"envoy"}
        # The second listener is nobody else's business.
        for ip in (Host.ip, Host.ip6):
            with pytest.raises(ConnectionRefusedError):
                lab.ask(lab.client, ip, LISTENER)
        v4.die()
        v6.die()
        # With it gone the first one serves.
        for ip in (Host.ip, Host.ip6):
            assert lab.ask(lab.client, ip).who == "envoy"


def test_the_input_chain_decides_by_the_published_port(lab: Lab, firewall: RunningFirewall) -> None:
    with Relaying(lab.host, "127.0.0.1", LISTENER):
        assert firewall.apply(KEPT)
        assert lab.ask(lab.client, Host.ip).who == "container"
        lab.load(f"""
            table inet own {{ chain input {{ type filter hook input priority filter;
              iifname "eth0" tcp dport {PORT} reject with tcp reset
            }}; }}
        """)
        with pytest.raises(ConnectionRefusedError):
            lab.ask(lab.client, Host.ip)


def test_a_connection_that_docker_mapped_is_left_alone(lab: Lab, firewall: RunningFirewall) -> None:
    with lab.container.socket() as server:
        server.bind(("172.17.0.2", 81))
        server.listen()
        lab.load("""
            table inet own { chain prerouting { type nat hook prerouting priority dstnat - 1; policy accept;
              iifname "eth0" tcp dport 8081 dnat ip to 172.17.0.2:81
            }; }
        """)
        address = Served("0.0.0.0", 8081)
        with lab.client.connect(Host.ip, 8081) as sock:
            peer, _ = server.accept()
            with peer, Answering(lab.host, "envoy", "0.0.0.0", 8081), Relaying(lab.host, "127.0.0.1", 9401):
                assert firewall.apply(Table(frozenset([address]), {address: 9401}, local=True))
                assert lab.ask(lab.client, Host.ip, 8081).who == "container"  # the new way
                for n in range(3):
                    sock.sendall(b"%d" % n)
                    assert peer.recv(1) == b"%d" % n


def test_rule_and_route_are_there_before_the_table_and_go_after_it(
    lab: Lab, firewall: RunningFirewall
) -> None:
    assert routing(lab) == []
    assert firewall.apply(KEPT._replace(keep={ANY4: LISTENER}))
    assert routing(lab) == [
        "7776:\tfrom all fwmark 0x7776 lookup 7776",
        "local default dev lo table 7776 scope host ",
    ]
    assert firewall.apply(KEPT)
    assert len(routing(lab)) == 4
    assert firewall.apply(KEPT._replace(keep={}))
    assert routing(lab) == []
    assert firewall.apply(KEPT)
    assert firewall.apply(None)
    assert routing(lab) == []
    assert "envoy_docker_shim" not in lab.ruleset()


@pytest.mark.parametrize(
    "damage",
    [
        # As systemd-networkd does with any that it does not know.
        "ip rule del priority 7776",
        "ip -6 route flush table 7776",
    ],
)
def test_a_rule_or_route_that_others_delete_comes_back(
    lab: Lab, firewall: RunningFirewall, damage: str
) -> None:
    assert firewall.apply(KEPT)
    before = routing(lab)
    lab.host.run(*damage.split())
    eventually(lambda: routing(lab) == before)
    assert firewall.status.restored == 0


def test_what_another_registrar_left_is_taken_away(lab: Lab) -> None:
    with RunningFirewall(lab) as firewall:
        assert firewall.apply(KEPT)
    assert len(routing(lab)) == 4
    assert "tproxy" in lab.ruleset()
    with RunningFirewall(lab) as firewall:
        assert firewall.apply(Table(BOTH, local=True))
        assert routing(lab) == []
        assert "tproxy" not in lab.ruleset()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("ip rule add priority 5 fwmark 0x7776 lookup 99", "another routing rule is for the mark 0x7776"),
        ("ip rule add priority 5 fwmark 0x76/0xff lookup 99", "another routing rule is for the mark 0x7776"),
        ("ip rule add priority 7776 lookup 99", "another routing rule has priority 7776"),
        ("ip rule add priority 5 lookup 7776", "another routing rule leads to table 7776"),
        ("ip route add default dev eth0 table 7776", "routing table 7776 has other routes in it"),
    ],
)
def test_a_number_in_use_is_left_to_its_owner_and_the_rest_is_served(
    lab: Lab, firewall: RunningFirewall, command: str, says: str
) -> None:
    lab.host.run(*command.split())
    before = routing(lab)
    assert firewall.apply(KEPT)
    assert firewall.status.keep_error == says
    assert routing(lab) == before
    assert lab.ask(lab.client, Host.ip).who == "envoy"
    # Other numbers will do.
    other = KEPT._replace(keeping=Keeping(mark=0x1F00, route_table=7777, rule_priority=7777))
    assert firewall.apply(other)
    assert firewall.status.keep_error == ""
    with Relaying(lab.host, "127.0.0.1", LISTENER):
        assert lab.ask(lab.client, Host.ip).peer[0] == Host.neighbour_ip
    assert firewall.apply(None)
    assert routing(lab) == before
    assert "7777" not in lab.host.run("ip", "rule")
