"""What Docker's firewall gives stays, and the host's own applies to published ports."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.docker.firewall.rig import (
    SIX,
    Inside,
    ask,
    configure,
    elements,
    led_to_envoy,
    requests,
    run_who,
)
from tests.harness.backends import HttpEcho
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.netns import Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

# An address in the world, which the neighbour plays.
WORLD = "198.51.100.7"
GUARD = "add table inet guard; add chain inet guard in { type filter hook input priority 0; policy accept; }"


class Dns:
    """Says WORLD's address, whatever name is asked for."""

    def __init__(self, place: Namespace) -> None:
        self._sock = place.socket(socket.AF_INET, socket.SOCK_DGRAM, timeout=None)
        self._sock.bind((WORLD, 53))
        self.clients: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            question, client = self._sock.recvfrom(512)
            if not question:
                return
            self.clients.append(client[0])
            self._sock.sendto(answer(question, WORLD), client)

    def close(self) -> None:
        self._sock.sendto(b"", self._sock.getsockname())
        self._thread.join(5)
        self._sock.close()


def query(name: str) -> bytes:
    """A DNS question for an IPv4 address."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\0\0\x01\0\x01"


def answer(asked: bytes, ip: str) -> bytes:
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton(ip)
    question = asked[12 : asked.index(b"\0", 12) + 5]
    return asked[:2] + b"\x81\x80\0\x01\0\x01" + bytes(4) + question + record


@pytest.fixture
def world(stack: Stack) -> Iterator[Dns]:
    """The host's default route leads to it."""
    neighbour = stack.host.neighbour
    neighbour.run("ip", "address", "replace", f"{WORLD}/32", "dev", "lo")
    stack.host.run("ip", "route", "replace", "default", "via", Host.neighbour_ip)
    dns = Dns(neighbour)
    yield dns
    dns.close()
    stack.host.run("ip", "route", "delete", "default")


def test_a_container_reaches_the_world_and_its_names(stack: Stack, world: Dns) -> None:
    """... as the host, whose address replaces its own; and containers of one network know each other's."""
    stack.dockerd.docker("network", "create", "named")
    options = ("--network", "named", "--dns", WORLD)
    run_who(stack.dockerd, "asks", "-p", "8200:80", *options, name="asks")
    run_who(stack.dockerd, "asked", "-p", "8201:80", *options, name="asked")
    led_to_envoy(stack, 8200, 8201)
    inside = Inside(stack.dockerd, "asks")
    with stack.host.neighbour.call(HttpEcho, WORLD, 80) as server:
        said = inside.http_get(f"http://{WORLD}/")
        assert (said.status, server.accepted) == (200, 1)
    with stack.host.neighbour.socket() as listener:
        listener.bind((WORLD, 81))
        listener.listen()
        with inside.connect(WORLD, 81):
            accepted, client = listener.accept()
            accepted.close()
            assert client[0] == Host.ip
    # Docker's own resolver asks ours from within the container's network.
    assert inside.udp_ask("127.0.0.11", 53, query("a.name.test"), timeout=5)[-4:] == socket.inet_aton(WORLD)
    assert world.clients == [Host.ip]
    own = stack.dockerd.ip("asked")
    assert inside.udp_ask("127.0.0.11", 53, query("asked"), timeout=5)[-4:] == socket.inet_aton(own)
    assert ask(inside, own, 80)[0] == "asked"
    stack.dockerd.docker("rm", "--force", "asks", "asked")
    stack.dockerd.docker("network", "rm", "named")


def test_networks_are_kept_apart_and_meet_at_published_ports_only(stack: Stack) -> None:
    run_who(stack.dockerd, "left", "-p", "8202:80", name="left")
    run_who(stack.dockerd, "right", "-p", "8203:80", "--network", SIX, name="right")
    led_to_envoy(stack, 8202, 8203)
    left, right = Inside(stack.dockerd, "left"), Inside(stack.dockerd, "right")
    for source, other in ((left, "right"), (right, "left")):
        with pytest.raises(OSError):
            ask(source, stack.dockerd.ip(other), 80, timeout=0.7)
    assert ask(left, Host.ip, 8203)[0] == "right"
    assert ask(right, Host.ip, 8202)[0] == "left"
    # Nor does the network reach what is not published.
    stack.host.neighbour.run("ip", "route", "replace", "172.16.0.0/12", "via", Host.ip)
    for port in (7, 81):
        with pytest.raises(OSError):
            ask(stack.host.neighbour, stack.dockerd.ip("left"), port, timeout=0.7)
    stack.host.neighbour.run("ip", "route", "delete", "172.16.0.0/12")


@contextmanager
def guarded(stack: Stack, port: int) -> Iterator[None]:
    """The host's firewall drops what comes in for this port from the network."""
    rule = f'add rule inet guard in iifname "eth0" tcp dport {port} drop'
    stack.host.run("nft", f"{GUARD}; {rule}")
    try:
        yield
    finally:
        stack.host.run("nft", "delete", "table", "inet", "guard")


def is_closed(stack: Stack, port: int, address: str = Host.ip) -> bool:
    """Whether the network gets no answer at all."""
    try:
        stack.host.neighbour.connect(address, port, timeout=0.7).close()
    except TimeoutError:
        return True
    except ConnectionRefusedError:
        return False
    return False


def test_an_input_chain_closes_a_published_port(stack: Stack) -> None:
    run_who(stack.dockerd, "web", "-p", "8204:80", "-p", "8205:80", "--network", SIX)
    led_to_envoy(stack, 8204, 8205)
    with guarded(stack, 8204):
        for address in (Host.ip, Host.ip6):
            assert is_closed(stack, 8204, address)
            assert ask(stack.host.neighbour, address, 8205)[0] == "web"
        assert ask(stack.host, Host.ip, 8204)[0] == "web"
    assert ask(stack.host.neighbour, Host.ip, 8204)[0] == "web"


@pytest.fixture
def strict(stack: Stack) -> Iterator[None]:
    """A registrar with ``fail_open: false``."""
    stack.registrar.end()
    configure(stack, fail_open=False)
    stack.registrar.start()
    yield
    stack.registrar.end()
    configure(stack, fail_open=True)
    stack.registrar.start()


@pytest.mark.usefixtures("strict")
def test_a_strict_host_stays_closed_while_envoy_is_dead(stack: Stack, engine: Engine) -> None:
    run_who(stack.dockerd, "web", "-p", "8206:80", "--network", SIX, labels={"ServiceName": "web"})
    led_to_envoy(stack, 8206)
    table = stack.host.run("nft", "list", "table", "inet", "envoy_docker_shim")
    assert "wildcard" not in table
    asked = [(stack.host.neighbour, Host.ip), (stack.host.neighbour, Host.ip6), (stack.host, Host.ip)]
    assert [ask(source, address, 8206)[0] for source, address in asked] == ["web"] * 3
    stack.envoy.kill()
    try:
        for source, address in asked:
            with pytest.raises(ConnectionRefusedError):
                ask(source, address, 8206)
        eventually(lambda: stack.registrar.bindings()[0]["state"] == "published", 5, "Envoy is missed")
        for source, address in asked:
            with pytest.raises(ConnectionRefusedError):
                ask(source, address, 8206)
        with guarded(stack, 8206):
            assert is_closed(stack, 8206)
        stack.registrar.end()
        with pytest.raises(ConnectionRefusedError):
            ask(stack.host.neighbour, Host.ip, 8206)
        stack.registrar.start()
        with pytest.raises(ConnectionRefusedError):
            ask(stack.host.neighbour, Host.ip, 8206)
        assert elements(stack.host) == {"0.0.0.0 8206", ":: 8206"}
    finally:
        stack.envoy.start()
    led_to_envoy(stack, 8206)
    before = requests(stack, "web")
    assert [ask(source, address, 8206)[0] for source, address in asked] == ["web"] * 3
    assert requests(stack, "web") == before + 3
