"""moby's integration cases for published ports, each that can apply with --iptables=false.

After moby's integration/networking/port_mapping_linux_test.go, integration/network/bridge and
daemon/libnetwork/drivers/bridge (checkProxies).  Some cannot apply, as what they look at is what
iptables does:

* TestDisableNAT, TestDirectRemoteAccessOnExposedPort and the others of gateway modes and inter-container
  filters: without iptables no address is translated, and a container's own address is not filtered.
* TestSkipRawRules, TestDaemonIptablesCreate and other golden rule sets: there are no rules.
* the cases of --userland-proxy=false: then dockerd starts no proxy, so this file is not in use.
* osallocator's "packets are dropped until the filter is detached": dockerd's own sockets, before any proxy.
* Swarm's ingress ports never have a userland proxy.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import clients
from tests.harness.host import CommandError, Host
from tests.harness.netns import Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [
    pytest.mark.docker,
    pytest.mark.envoy,
    pytest.mark.usefixtures("clean"),
]

FRONT6, BACK6 = "fd00:204", "fd00:205"
TIME_WAIT = "06"  # in /proc/net/tcp


@pytest.fixture(scope="module", autouse=True)
def networks(stack: Stack) -> None:
    """Two bridges besides Docker's default one; these have IPv6 too."""
    for name, prefix in (("front", FRONT6), ("back", BACK6)):
        stack.dockerd.docker("network", "create", "--ipv6", "--subnet", f"{prefix}::/64", name)


def gateways(stack: Stack, network: str) -> list[str]:
    """The host's own addresses on that network, IPv4 first."""
    config = stack.dockerd.api(f"/networks/{network}")["IPAM"]["Config"]
    found = [str(part["Gateway"]) for part in config if "Gateway" in part]
    # Engine 20.10 does not tell the one that it took itself.
    found += [f"{BACK6 if network == 'back' else FRONT6}::1"] if len(found) == 1 else []
    return sorted(found, key=lambda address: ":" in address)


def inside(stack: Stack, container: str) -> Namespace:
    """A container's network: what runs there sees what the container sees."""
    pid = stack.dockerd.api(f"/containers/{container}/json")["State"]["Pid"]
    found = object.__new__(Namespace)  # it is there already
    found.path = Path(f"/proc/{pid}/ns/net")
    return found


def client_on(stack: Stack, network: str) -> Namespace:
    return inside(stack, stack.dockerd.run(f"--network={network}"))


# -- who can reach a published port --------------------------------------------------------------------


def test_hairpin_a_container_reaches_another_networks_tcp_port_through_the_host(stack: Stack) -> None:
    stack.dockerd.run_http("served", "-p", "8500:80", "--network=back")
    for network in ("front", "bridge"):
        assert stack.get(8500, Host.ip, source=client_on(stack, network)).text == "served\n"


def test_hairpin_a_container_reaches_another_networks_udp_port_through_the_host(stack: Stack) -> None:
    stack.dockerd.run_udp_echo("-p", "8501:7/udp", "--network=back")
    client = client_on(stack, "front")
    eventually(lambda: client.udp_ask(Host.ip, 8501, b"who?", timeout=0.2) == b"who?", 10, "it echoes")


def test_an_ipv6_host_address_leads_to_a_container_that_has_ipv4_only(stack: Stack) -> None:
    stack.dockerd.run_http("four", "-p", "[::1]:8502:80")
    assert stack.get(8502, "::1").text == "four\n"
    assert ":" not in stack.binding(8502)["backend"].rpartition(":")[0]


def test_an_ipv6_host_address_leads_to_the_ipv6_address_of_a_container_that_has_one(stack: Stack) -> None:
    stack.dockerd.run_http("six", "-p", "[::1]:8503:80", "--network=back", labels={"ServiceName": "web"})
    assert stack.get(8503, "::1").text == "six\n"
    binding = stack.binding(8503)
    assert binding["backend"].startswith(f"[{BACK6}:")
    assert binding["service"] == "web"


def addresses(stack: Stack, device: str) -> list[str]:
    """All of a device, with the zone where one needs it."""
    (link,) = json.loads(stack.host.run("ip", "-json", "address", "show", "dev", device))
    return [
        f"{info['local']}%{device}" if info["scope"] == "link" else info["local"]
        for info in link["addr_info"]
    ]


def served_at(source: Namespace, address: str, port: int) -> bool:
    return source.call(clients.get, (address, port)).body == b"hello\n"


def test_the_host_reaches_a_port_at_every_address_it_has(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8504:80")
    found = [*addresses(stack, "lo"), *addresses(stack, "eth0"), *addresses(stack, "docker0")]
    assert {"127.0.0.1", "::1", Host.ip, Host.ip6} <= set(found)
    assert any(address.startswith("fe80:") for address in found)
    for address in found:
        eventually(lambda at=address: served_at(stack.host, at, 8504), 5, address)  # type: ignore[misc]


def test_another_host_reaches_a_port_at_every_address_on_the_wire(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8505:80")
    stack.get(8505)
    stack.get(8505, "::1")
    for address in addresses(stack, "eth0"):
        eventually(lambda at=address: served_at(stack.host.neighbour, at, 8505), 5, address)  # type: ignore[misc]


def test_a_container_reaches_its_own_port_and_its_neighbours(stack: Stack) -> None:
    own = inside(stack, stack.dockerd.run_http("own", "-p", "8506:80", "--network=back"))
    neighbour = client_on(stack, "back")
    for address in (Host.ip, *gateways(stack, "back")):
        assert stack.get(8506, address, source=own).text == "own\n"
        assert stack.get(8506, address, source=neighbour).text == "own\n"


def test_a_port_answers_at_the_gateway_of_every_network(stack: Stack) -> None:
    stack.dockerd.run_http("served", "-p", "8507:80", "--network=back")
    client = client_on(stack, "front")
    for address in (*gateways(stack, "back"), *gateways(stack, "front")):
        assert stack.get(8507, address, source=client).text == "served\n"


RECORDS = """
import socket, sys
seen = []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", 7))
    while True:
        data, sender = sock.recvfrom(65535)
        seen.append(data)
        sock.sendto(b"|".join(seen), sender)
"""


@pytest.fixture
def attacker(stack: Stack) -> Iterator[Namespace]:
    """The other host, once it sends packets for 127.0.0.2 to this one."""
    neighbour = stack.host.neighbour
    neighbour.run("ip", "link", "set", "lo", "down")  # or its own loopback would take them
    neighbour.run("ip", "route", "add", "127.0.0.2/32", "via", Host.ip, "dev", "eth0")
    yield neighbour
    neighbour.run("ip", "route", "delete", "127.0.0.2/32")
    neighbour.run("ip", "link", "set", "lo", "up")


def received(stack: Stack) -> int:
    (link,) = json.loads(stack.host.run("ip", "-json", "-statistics", "link", "show", "dev", "eth0"))
    return int(link["stats64"]["rx"]["packets"])


def test_a_port_on_a_loopback_address_cannot_be_reached_from_another_host(
    stack: Stack, attacker: Namespace
) -> None:
    """moby#45610.  The same container's other port shows what it has received."""
    published = ("-p", "127.0.0.2:8508:7/udp", "-p", f"{Host.ip}:8509:7/udp", "-p", "127.0.0.2:8508:80/tcp")
    stack.dockerd.run_python("-c", RECORDS, options=published)
    eventually(
        lambda: stack.host.udp_ask("127.0.0.2", 8508, b"local", timeout=0.2), 10, "the host reaches it"
    )
    before = received(stack)
    with attacker.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(10):
            sock.sendto(b"attack", ("127.0.0.2", 8508))
    eventually(lambda: received(stack) >= before + 10, 5, "the packets come in")
    with pytest.raises((TimeoutError, OSError)):
        attacker.connect("127.0.0.2", 8508, timeout=0.5)
    with pytest.raises(ConnectionRefusedError):
        attacker.connect(Host.ip, 8508)
    seen = set(attacker.udp_ask(Host.ip, 8509, b"allowed").split(b"|"))
    assert seen == {b"local", b"allowed"}


# -- which ports there are -----------------------------------------------------------------------------


def test_a_port_can_be_published_again_while_connections_of_the_last_one_are_in_time_wait(
    stack: Stack,
) -> None:
    """moby's TestRestartUserlandProxyUnder2MSL."""
    container = stack.dockerd.run_http("old", "-p", "8510:80")
    stack.get(8510)
    with contextlib.ExitStack() as opened:
        peers = [opened.enter_context(stack.host.connect("127.0.0.1", 8510)) for _ in range(5)]
        for peer in peers:
            peer.sendall(clients.head("GET", "/", ["Connection: close"]))
        for peer in peers:
            while peer.recv(65536):  # the server closes first: it is its side that waits
                pass
    eventually(lambda: in_time_wait(stack.host, 8510) == 5, 5, "five connections in TIME_WAIT")
    stack.dockerd.docker("rm", "--force", container)
    stack.dockerd.run_http("new", "-p", "8510:80")
    assert stack.get(8510).text == "new\n"
    assert in_time_wait(stack.host, 8510) >= 5  # the first answer came that soon


def in_time_wait(host: Host, port: int) -> int:
    rows = host.call(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]
    return sum(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == TIME_WAIT for row in rows)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_any_and_specific_host_addresses_get_host_ports_of_their_own(stack: Stack, proto: str) -> None:
    """docker/compose#12846: and the same one on 0.0.0.0 and on ::, where both are published."""
    wanted = ("-p", f"81/{proto}", "-p", f"82/{proto}", "-p", f"127.0.0.1::80/{proto}")
    container = stack.dockerd.run(*wanted)
    ports = published_by(stack, container)
    chosen = {inner: {str(binding["HostPort"]) for binding in outer} for inner, outer in ports.items()}
    assert set(chosen) == {f"{number}/{proto}" for number in (80, 81, 82)}
    assert all(len(numbers) == 1 for numbers in chosen.values()), chosen
    assert len(set.union(*chosen.values())) == 3, chosen


def published_by(stack: Stack, container: str) -> dict[str, list[dict[str, Any]]]:
    return dict(stack.dockerd.api(f"/containers/{container}/json")["NetworkSettings"]["Ports"])


def test_distinct_loopback_addresses_on_one_port_reach_their_own_containers(stack: Stack) -> None:
    """moby#52783."""
    stack.dockerd.run_http("two", "-p", "127.0.1.2:8511:80")
    stack.dockerd.run_http("three", "-p", "127.0.1.3:8511:80")
    assert stack.get(8511, "127.0.1.2").text == "two\n"
    assert stack.get(8511, "127.0.1.3").text == "three\n"
    with pytest.raises(ConnectionRefusedError):
        stack.host.connect("127.0.1.1", 8511)


def test_a_second_container_for_a_port_stays_created_and_is_not_started_again_and_again(stack: Stack) -> None:
    """moby#49501."""
    stack.dockerd.run_http("first", "-p", "8512:80")
    with pytest.raises(CommandError, match="port is already allocated"):
        stack.dockerd.run("-p", "8512:80", "--restart=always", name="second")
    state = stack.dockerd.api("/containers/second/json")
    assert (state["State"]["Status"], state["RestartCount"]) == ("created", 0)
    assert stack.get(8512).text == "first\n"


def test_exactly_one_proxy_runs_for_each_protocol_address_and_port(stack: Stack) -> None:
    """moby's checkProxies."""
    container = stack.dockerd.run(
        "-p", "8513:80", "-p", "127.0.0.1:8514:53/udp", "-p", "[::1]:8515-8516:90-91"
    )
    ip = stack.address_of(container)
    keys = ("-proto", "-host-ip", "-host-port", "-container-ip", "-container-port")
    found = [tuple(argv[argv.index(key) + 1] for key in keys) for argv in stack.dockerd.proxies().values()]
    assert sorted(found) == [
        ("tcp", "0.0.0.0", "8513", ip, "80"),
        ("tcp", "::", "8513", ip, "80"),
        ("tcp", "::1", "8515", ip, "90"),
        ("tcp", "::1", "8516", ip, "91"),
        ("udp", "127.0.0.1", "8514", ip, "53"),
    ]
    stack.dockerd.docker("rm", "--force", container)
    assert stack.dockerd.proxies() == {}


def test_ports_are_restored_with_their_containers_when_the_daemon_restarts(stack: Stack) -> None:
    """moby's TestPortMappingRestore, with a fixed port and one that dockerd chooses."""
    published = ("-p", "8517:80", "-p", "80")
    container = stack.dockerd.run_http(
        "back", *published, "--restart=unless-stopped", labels={"ServiceName": "web"}
    )
    stack.get(8517)
    stack.dockerd.restart()
    eventually(lambda: stack.dockerd.api(f"/containers/{container}/json")["State"]["Running"], 10, "it runs")
    assert stack.get(8517).text == "back\n"
    assert stack.binding(8517)["cluster"] == "web-8517"
    for binding in published_by(stack, container)["80/tcp"]:
        assert stack.get(int(binding["HostPort"])).text == "back\n"
    assert len(stack.dockerd.proxies()) == len(stack.registrar.bindings()) == 4
