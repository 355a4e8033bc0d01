"""Which way a request takes, by who asks what; and what `status` and `firewall` say of it."""

from collections.abc import Iterator

import pytest

from shim.commands.status import COLUMNS
from tests.docker.firewall.rig import (
    SECOND,
    SECOND6,
    SIX,
    Inside,
    ask,
    elements,
    led_to_envoy,
    requests,
    run_who,
    status,
    url,
    ways,
)
from tests.harness.docker import container_python, python_container_args
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

MANY = 200

# Answers each datagram with its sender.
UDP_WHO = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 7))
    while True:
        sender = sock.recvfrom(100)[1]
        sock.sendto(sender[0].removeprefix("::ffff:").encode(), sender)
"""


@pytest.fixture
def other(stack: Stack) -> Iterator[str]:
    """A container that asks, on both networks."""
    stack.dockerd.run(name="other")
    stack.dockerd.docker("network", "connect", SIX, "other")
    yield "other"


def test_whoever_asks_is_served_through_envoy_and_named(stack: Stack, other: str) -> None:
    """From the network, 127.0.0.1, the host's own addresses, another container, and the container itself."""
    run_who(stack.dockerd, "plain", "-p", "8080:80", labels={"ServiceName": "plain"}, name="plain")
    options = ("-p", "8081:80", "--network", SIX)
    run_who(stack.dockerd, "six", *options, labels={"ServiceName": "six"}, name="six")
    led_to_envoy(stack, 8080, 8081)
    neighbour, host = stack.host.neighbour, stack.host
    networks = stack.dockerd.api("/containers/other/json")["NetworkSettings"]["Networks"]
    own = {networks["bridge"]["IPAddress"], networks[SIX]["IPAddress"], networks[SIX]["GlobalIPv6Address"]}
    for service, port in (("plain", 8080), ("six", 8081)):
        before, asked = requests(stack, service), 0
        for source, addresses, named in (
            (neighbour, (Host.ip, SECOND), Host.neighbour_ip),
            (neighbour, (Host.ip6, SECOND6), Host.neighbour_ip6),
            # Envoy names the host for its own clients: 127.0.0.1 says nothing to anybody else.
            (host, ("127.0.0.1", "127.0.0.2", "::1"), Host.ip),
        ):
            for address in addresses:
                assert ask(source, address, port)[::2] == (service, named)
                asked += 1
        for address in (Host.ip, SECOND, Host.ip6, SECOND6):
            word, _, named = ask(host, address, port)
            assert word == service and named in (address, Host.ip)
            asked += 1
        for address in (Host.ip, Host.ip6):
            word, _, named = ask(Inside(stack.dockerd, other), address, port)
            assert word == service and named in own
            asked += 1
        assert ask(Inside(stack.dockerd, service), Host.ip, port)[0] == service
        assert requests(stack, service) - before == asked + 1
        assert set(ways(stack, port).values()) == {("envoy", "")}
    code, text, report = status(stack)
    assert (code, report["problems"]) == (0, []), text
    assert (report["firewall"]["active"], report["firewall"]["whole"]) == (True, True)
    assert report["firewall"]["docker_rules"] is True
    assert report["firewall"]["addresses"] == 4
    rows = [line.split() for line in text.splitlines() if ":808" in line]
    assert [row[COLUMNS.index("NETWORK")] for row in rows] == ["envoy"] * 4


def test_two_addresses_with_one_port_are_two_services_and_a_third_is_nobodys(stack: Stack) -> None:
    for word, v4, v6 in (("one", Host.ip, Host.ip6), ("two", SECOND, SECOND6)):
        options = ("-p", f"{v4}:8082:80", "-p", f"[{v6}]:8082:80", "--network", SIX)
        run_who(stack.dockerd, word, *options, labels={"ServiceName": word})
    led_to_envoy(stack, 8082)
    for source in (stack.host.neighbour, stack.host):
        for word, addresses in (("one", (Host.ip, Host.ip6)), ("two", (SECOND, SECOND6))):
            before = requests(stack, word)
            assert [ask(source, address, 8082)[0] for address in addresses] == [word] * 2
            assert requests(stack, word) == before + 2
    expected = {f"{ip} 8082" for ip in (Host.ip, SECOND, Host.ip6, SECOND6)}
    assert elements(stack.host) == expected
    stack.host.run("ip", "address", "add", "10.203.0.9/24", "dev", "eth0")
    with pytest.raises(ConnectionRefusedError):
        ask(stack.host.neighbour, "10.203.0.9", 8082)


def test_every_port_of_a_range_is_served_through_envoy(stack: Stack) -> None:
    last = 9000 + MANY - 1
    serve = f"for port in $(seq 9000 {last}); do httpd -h /www -p $port; done; exec sleep 1000000"
    stack.dockerd.run(
        *("-p", f"0.0.0.0:9000-{last}:9000-{last}"),
        cmd=["sh", "-c", f"echo hello >/www/index.html; {serve}"],
        labels={"ServiceName": "range"},
        name="range",
    )
    led_to_envoy(stack, *range(9000, last + 1))
    assert len(elements(stack.host)) == MANY
    before = requests(stack, "range")
    for port in range(9000, last + 1):
        assert stack.host.neighbour.http_get(url(Host.ip, port, "/")).text == "hello\n"
    assert requests(stack, "range") == before + MANY
    stack.dockerd.docker("rm", "--force", "range")
    eventually(lambda: elements(stack.host) == set(), 5, "none is left")


def test_what_is_published_on_loopback_is_served_there_and_unreachable_from_outside(stack: Stack) -> None:
    run_who(stack.dockerd, "inner", "-p", "127.0.0.1:8083:80", "-p", "[::1]:8083:80", "--network", SIX)
    stack.binding(8083)
    assert {ask(stack.host, address, 8083)[0] for address in ("127.0.0.1", "::1")} == {"inner"}
    for address in (Host.ip, Host.ip6):
        with pytest.raises(ConnectionRefusedError):
            ask(stack.host.neighbour, address, 8083)
    assert set(ways(stack, 8083).values()) == {("nobody", "a loopback address")}
    assert elements(stack.host) == set()


def test_a_direct_container_sees_network_clients_themselves_and_envoy_serves_the_hosts(
    stack: Stack, engine: Engine
) -> None:
    run_who(stack.dockerd, "direct", "-p", "8084:80", "--network", SIX, labels={"ProxyMode": "direct"})
    stack.binding(8084)
    neighbour = stack.host.neighbour
    assert ask(neighbour, Host.ip, 8084) == ("direct", Host.neighbour_ip, "")
    # Only 28 has rules for IPv6.
    by6 = "docker" if engine.name == "28" else "envoy"
    peer6 = ask(neighbour, Host.ip6, 8084)[1]
    assert (peer6 == Host.neighbour_ip6) is (by6 == "docker")
    for address in ("127.0.0.1", "::1", Host.ip, Host.ip6):
        assert ask(stack.host, address, 8084)[0] == "direct"
    assert {ip: by for ip, (by, _) in ways(stack, 8084).items()} == {"0.0.0.0": "docker", "::": by6}
    assert ways(stack, 8084)["0.0.0.0"] == ("docker", "mode direct")
    assert elements(stack.host) == set()
    code, text, report = status(stack)
    assert (code, report["problems"]) == (0, []), text
    # A container that has no IPv6 cannot be reached past Envoy by it.
    run_who(stack.dockerd, "four", "-p", "8085:80", labels={"ProxyMode": "direct"})
    stack.binding(8085)
    assert ask(neighbour, Host.ip6, 8085)[0] == "four"
    assert {ip: by for ip, (by, _) in ways(stack, 8085).items()} == {"0.0.0.0": "docker", "::": "envoy"}


def test_udp_from_the_network_is_dockers_and_local_clients_the_shims(stack: Stack, engine: Engine) -> None:
    """The container sees the network client's address, and nobody wakes the shim for it."""
    stack.dockerd.run(
        *python_container_args(),
        *("-p", "8086:7/udp", "-p", "127.0.0.1:8087:7/udp", "--network", SIX),
        cmd=[container_python(), "-c", UDP_WHO],
    )
    host, neighbour = stack.host, stack.host.neighbour

    def asked(address: str) -> str:
        answer = eventually(lambda: neighbour.udp_ask(address, 8086, b"who?", timeout=0.3), 10, address)
        return answer.decode()

    assert asked(Host.ip) == Host.neighbour_ip
    by6 = "docker" if engine.name == "28" else "shim"
    assert (asked(Host.ip6) == Host.neighbour_ip6) is (by6 == "docker")
    pids = {b["address"]: b["pid"] for b in stack.registrar.bindings() if b["port"] == 8086}
    # They have just started: what they do before they sleep takes a moment.
    eventually(lambda: is_asleep(pids["0.0.0.0"]), 5, "the shim sleeps")
    eventually(lambda: is_asleep(pids["::"]) is (by6 == "docker"), 5, "so does the other one, or not")
    for address in ("127.0.0.1", "::1"):
        assert host.udp_ask(address, 8086, b"who?", timeout=5) not in (b"", address.encode())
        assert not is_asleep(pids["::" if ":" in address else "0.0.0.0"])
    with pytest.raises(ConnectionRefusedError):
        neighbour.udp_ask(Host.ip, 8087, b"who?")
    assert {ip: by for ip, (by, _) in ways(stack, 8086, "udp").items()} == {"0.0.0.0": "docker", "::": by6}
    assert ways(stack, 8087, "udp") == {"127.0.0.1": ("nobody", "a loopback address")}


def is_asleep(pid: int) -> bool:
    """Whether a UDP shim is still the shell that waits for a first datagram."""
    with open(f"/proc/{pid}/comm") as comm:
        return comm.read().strip() in ("sh", "dash")


def test_the_command_shows_the_table_and_takes_it_away(stack: Stack) -> None:
    run_who(stack.dockerd, "web", "-p", "8088:80", labels={"ServiceName": "web"})
    led_to_envoy(stack, 8088)
    shown = stack.registrar.command("firewall", "show").stdout
    assert "tcp . 8088" in shown and shown.startswith("table inet envoy_docker_shim {")
    stack.registrar.end()
    try:
        assert stack.registrar.command("firewall", "show").stdout == shown
        assert stack.registrar.command("firewall", "clear").stdout == ""
        assert "no rules" in stack.registrar.command("firewall", "show").stdout
        assert "envoy_docker_shim" not in stack.host.run("nft", "list", "tables")
        assert ask(stack.host.neighbour, Host.ip, 8088) == ("web", Host.neighbour_ip, "")
    finally:
        stack.registrar.start()
    led_to_envoy(stack, 8088)
    assert ask(stack.host.neighbour, Host.ip, 8088)[2] == Host.neighbour_ip
