"""ClientAddress=keep: containers see the addresses of network clients, and all others are served as ever."""

import http.client
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docker.firewall.rig import (
    SECOND,
    SIX,
    TABLE,
    Inside,
    Who,
    ask,
    configure,
    led_to_envoy,
    remove_all,
    requests,
    run_who,
    status,
)
from tests.harness.debian import environment, unpacked
from tests.harness.docker import python_container_args
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.netns import CommandError, Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

KEEP = {"ClientAddress": "keep"}
HTTP, TCP = 8080, 8081
# The neighbour's second address, and the ways from it and from the first to the host.
OTHER = "10.203.0.9"
CLIENTS = ((Host.ip, Host.neighbour_ip), (SECOND, Host.neighbour_ip), (Host.ip6, Host.neighbour_ip6))


@pytest.fixture
def kept(stack: Stack) -> Iterator[None]:
    """A container in each mode, of both IP versions."""
    for port, mode in ((HTTP, "http"), (TCP, "tcp")):
        labels = {**KEEP, "ProxyMode": mode, "ServiceName": mode}
        run_who(stack.dockerd, mode, "-p", f"{port}:80", "--network", SIX, name=mode, labels=labels)
    wait_until_kept(stack)
    yield
    remove_all(stack.dockerd)


def said(stack: Stack) -> list[tuple[str, int, Any]]:
    return [(b["address"], b["port"], b["client_address"]) for b in stack.registrar.bindings()]


def wait_until_kept(stack: Stack) -> None:
    every = [(ip, port, {"kept": True, "why": ""}) for port in (HTTP, TCP) for ip in ("0.0.0.0", "::")]
    eventually(lambda: sorted(said(stack)) == sorted(every), 10, "client addresses are kept")


def routing(host: Namespace) -> list[str]:
    """What there is beside the kernel's own rules and routes."""
    found = [host.run("ip", f"-{v}", "rule", "show") for v in (4, 6)]
    found += [host.run("ip", f"-{v}", "route", "show", "table", "all") for v in (4, 6)]
    return [line for text in found for line in text.splitlines() if "7776" in line]


def keep_map(host: Namespace) -> dict[str, int]:
    """What the table hands to second listeners: "::8080" -> the listener's port; empty without a table."""
    try:
        found = json.loads(host.run("nft", "-j", "list", "table", *TABLE))["nftables"]
    except CommandError:
        return {}
    maps = [thing["map"] for thing in found if "map" in thing]
    return {f"{m['name']} {key['concat'][1]}": port for m in maps for key, port in m.get("elem", ())}


def seen_by(stack: Stack, source: Namespace, *ips: str) -> set[tuple[str, str]]:
    """(who answers, whom the container sees) in both modes, at any of the host's addresses."""
    return {Who(ask(source, ip, port))[:2] for port in (HTTP, TCP) for ip in ips}


@pytest.mark.usefixtures("kept")
def test_containers_see_the_clients_on_the_network_and_others_are_served_as_ever(stack: Stack) -> None:
    before = requests(stack, "http")
    for ip, client in CLIENTS:
        assert seen_by(stack, stack.host.neighbour, ip) == {("http", client), ("tcp", client)}
    assert requests(stack, "http") == before + len(CLIENTS)
    # As it is without the label.
    (gateway,) = {peer for _, peer in seen_by(stack, stack.host, "127.0.0.1", Host.ip)}
    assert gateway == stack.dockerd.ip("http").rpartition(".")[0] + ".1"
    (gateway6,) = {peer for _, peer in seen_by(stack, stack.host, "::1", Host.ip6)}
    assert gateway6.startswith("fd00:45::")
    assert seen_by(stack, Inside(stack.dockerd, "tcp"), Host.ip) == {("http", gateway), ("tcp", gateway)}


@pytest.mark.usefixtures("kept")
def test_a_second_listener_is_for_nobody_who_finds_its_port(stack: Stack) -> None:
    for port in keep_map(stack.host).values():
        for ip in ("127.0.0.1", "::1"):
            with pytest.raises(OSError):
                ask(stack.host, ip, port)


@pytest.mark.usefixtures("kept")
def test_two_clients_requests_never_share_a_connection_to_the_container(stack: Stack) -> None:
    neighbour = stack.host.neighbour
    neighbour.run("ip", "address", "replace", f"{OTHER}/24", "dev", "eth0")
    clients = {
        ip: neighbour.call(_connected, http.client.HTTPConnection(Host.ip, HTTP, 5, (ip, 0)))
        for ip in (Host.neighbour_ip, OTHER)
    }
    for _ in range(10):
        for ip, client in clients.items():
            client.request("GET", "/cgi-bin/who")
            assert Who.parse(client.getresponse().read().decode()) == ("http", ip, ip)
    for client in clients.values():
        client.close()


def _connected(client: http.client.HTTPConnection) -> http.client.HTTPConnection:
    client.connect()
    return client


@pytest.mark.usefixtures("kept")
def test_whatever_dies_and_comes_back_the_client_is_seen(stack: Stack, engine: Engine) -> None:
    ports, running = keep_map(stack.host), stack.envoy.stats("listener_manager.listener_(create|modify)")
    neighbour = stack.host.neighbour
    stack.registrar.end(signal.SIGKILL)
    for ip, client in CLIENTS:
        assert seen_by(stack, neighbour, ip) == {("http", client), ("tcp", client)}
    stack.registrar.start()
    wait_until_kept(stack)
    # The same ports, so that Envoy has nothing to change.
    assert keep_map(stack.host) == ports
    assert stack.envoy.stats("listener_manager.listener_(create|modify)") == running
    stack.envoy.kill()
    # Docker's own way, of which 20.10 has none for IPv6.
    for ip, client in CLIENTS if engine.name == "28" else CLIENTS[:2]:
        assert seen_by(stack, neighbour, ip) == {("http", client), ("tcp", client)}
    stack.envoy.start()
    wait_until_kept(stack)
    for ip, client in CLIENTS:
        assert seen_by(stack, neighbour, ip) == {("http", client), ("tcp", client)}
    assert keep_map(stack.host) == ports


@pytest.mark.usefixtures("kept")
def test_what_it_needs_goes_with_the_last_such_container(stack: Stack) -> None:
    assert len(routing(stack.host)) == 4
    stack.dockerd.docker("rm", "--force", "http")
    run_who(stack.dockerd, "plain", "-p", "8082:80", name="plain")
    led_to_envoy(stack, 8082, TCP)
    assert len(routing(stack.host)) == 4
    assert {key.split()[1] for key in keep_map(stack.host)} == {str(TCP)}
    stack.dockerd.docker("rm", "--force", "tcp")
    eventually(lambda: routing(stack.host) == [], 5, "rules and routes are gone")
    assert "tproxy" not in stack.host.run("nft", "list", "table", *TABLE)
    assert not [name for name in stack.envoy.listeners() if "#" in name]
    assert ask(stack.host.neighbour, Host.ip, 8082)[0] == "plain"


@pytest.mark.usefixtures("clean")
def test_ipv6_clients_of_an_ipv4_container_are_served_as_ever(stack: Stack) -> None:
    run_who(stack.dockerd, "four", "-p", "8082:80", name="four", labels=KEEP)
    why = "the container is of another IP version"
    wanted = {("0.0.0.0", True, ""), ("::", False, why)}
    eventually(lambda: {(ip, *c.values()) for ip, _, c in said(stack) if c} == wanted, 10, "half is kept")
    assert ask(stack.host.neighbour, Host.ip, 8082)[1] == Host.neighbour_ip
    assert ask(stack.host.neighbour, Host.ip6, 8082)[::2] == ("four", Host.neighbour_ip6)
    assert status(stack)[0] == 0


@pytest.mark.usefixtures("clean")
def test_a_bridge_that_nobody_knows_is_left_alone(stack: Stack) -> None:
    stack.dockerd.docker("network", "create", "-o", "com.docker.network.bridge.name=own0", "own")
    run_who(stack.dockerd, "own", "-p", "8082:80", "--network", "own", name="own", labels=KEEP)
    led_to_envoy(stack, 8082)
    assert "the bridge own0 is not named as Docker names them" in status(stack)[1]
    assert ask(stack.host.neighbour, Host.ip, 8082)[::2] == ("own", Host.neighbour_ip)


@pytest.mark.usefixtures("kept")
def test_an_envoy_without_the_capability_serves_as_ever_and_status_says_so(stack: Stack) -> None:
    confined = ("setpriv", "--bounding-set=-net_admin,-net_raw", "--")
    stack.envoy.stop()
    with stack.another_envoy("confined", stack.bootstrap, *confined) as envoy:
        why = {"kept": False, "why": "Envoy vm has no CAP_NET_RAW"}
        eventually(lambda: all(c == why for *_, c in said(stack)), 10, "client addresses are not kept")
        led_to_envoy(stack, HTTP, TCP)
        eventually(lambda: len(envoy.listeners()) == 4, 10, "no second listeners")
        code, text, _ = status(stack)
        assert (code, text.count("!")) == (1, 1)
        assert f"4 addresses do not see their clients' addresses: {why['why']}" in text
        for ip, client in CLIENTS:
            assert ask(stack.host.neighbour, ip, HTTP)[::2] == ("http", client)
    stack.envoy.start()
    wait_until_kept(stack)


def test_numbers_in_use_are_left_to_their_owner(stack: Stack) -> None:
    stack.host.run("ip", "rule", "add", "fwmark", "0x7776", "lookup", "99")
    try:
        run_who(stack.dockerd, "http", "-p", f"{HTTP}:80", name="http", labels=KEEP)
        led_to_envoy(stack, HTTP)
        code, text, _ = status(stack)
        assert code == 1
        assert "another routing rule is for the mark 0x7776" in text
        assert ask(stack.host.neighbour, Host.ip, HTTP)[2] == Host.neighbour_ip
        configure(stack, keep_mark=0x1F00, keep_table=7777)
        stack.registrar.end()
        stack.registrar.start()
        eventually(lambda: (ask(stack.host.neighbour, Host.ip, HTTP))[1] == Host.neighbour_ip, 5, "kept")
    finally:
        stack.host.run("ip", "rule", "del", "fwmark", "0x7776", "lookup", "99")
        remove_all(stack.dockerd)


# Says whom the header named: client and port, whom the client asked, and the header's version.
HAPROXY = """
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend all
  bind :80 accept-proxy
  bind :81 accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port]"
"""


def test_a_container_that_speaks_the_proxy_protocol_is_told_every_client(stack: Stack) -> None:
    """One on a network without IPv6, too."""
    tree = unpacked("nginx", "haproxy")
    path = f"LD_LIBRARY_PATH={environment(tree)['LD_LIBRARY_PATH']}"
    labels = {
        "ClientAddress": "proxy-protocol",
        "ClientAddress.81": "proxy-protocol-v2",
        "ProxyMode.81": "tcp",
    }
    start = f'echo "$0" >/tmp/cfg && exec {tree}/usr/sbin/haproxy -db -f /tmp/cfg'
    options = [*python_container_args(), f"--env={path}", "-p", f"{HTTP}:80", "-p", f"{TCP}:81"]
    stack.dockerd.run(*options, cmd=["sh", "-c", start, HAPROXY], name="told", labels=labels)
    led_to_envoy(stack, HTTP, TCP)
    assert {b["labels"]["ClientAddress"] for b in stack.registrar.bindings() if b["port"] == TCP} == {
        "proxy-protocol-v2"
    }
    for port in (HTTP, TCP):
        assert stack.get(port).text.split() == ["127.0.0.1", "127.0.0.1", str(port)]
        for ip, client in CLIENTS:
            assert stack.get(port, ip, source=stack.host.neighbour).text.split() == [client, ip, str(port)]
    assert status(stack)[2]["problems"] == []
    remove_all(stack.dockerd)
