"""UDP ports through the shim's own relay: IPv4 and IPv6, many clients, and what happens around a restart."""

import contextlib
import itertools
import socket

import pytest

from tests.harness.docker import UDP_ECHO, container_python, python_container_args
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("clean")]

CLIENTS, ROUNDS = 20, 5
LOCAL = ["127.0.0.1", "127.0.0.2", Host.ip, "::1", Host.ip6]


def up(stack: Stack, address: str, port: int) -> None:
    """Wait for the container, whose Python takes a moment."""
    eventually(
        lambda: stack.host.udp_ask(address, port, b"up?", timeout=0.2) == b"up?", 10, f"port {port} echoes"
    )


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.mark.parametrize("address", [Host.ip, Host.ip6])
def test_twenty_clients_at_once_get_their_own_datagrams_back(stack: Stack, address: str) -> None:
    stack.dockerd.run_udp_echo("-p", "9001:7/udp")
    up(stack, "127.0.0.1", 9001)
    with contextlib.ExitStack() as opened:
        clients = [
            opened.enter_context(stack.host.neighbour.socket(family_of(address), socket.SOCK_DGRAM))
            for _ in range(CLIENTS)
        ]
        for number in range(ROUNDS):
            for index, client in enumerate(clients):
                client.sendto(b"%d of %d" % (number, index), (address, 9001))
            for index, client in enumerate(clients):
                data, sender = client.recvfrom(100)
                assert (data, sender[:2]) == (b"%d of %d" % (number, index), (address, 9001))


def test_a_reply_comes_from_the_address_that_was_asked(stack: Stack) -> None:
    """Even if that is not the one the system would pick for this client."""
    stack.dockerd.run_udp_echo("-p", "9002:7/udp")
    up(stack, "127.0.0.1", 9002)
    for address in LOCAL:
        with stack.host.socket(family_of(address), socket.SOCK_DGRAM) as client:
            client.sendto(b"who?", (address, 9002))
            data, sender = client.recvfrom(100)
            assert (data, sender[:2]) == (b"who?", (address, 9002))
    # A client on the wire may ask for any of the host's addresses, too.
    stack.host.run("ip", "address", "replace", "10.203.0.77/24", "dev", "eth0")
    with stack.host.neighbour.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"who?", ("10.203.0.77", 9002))
        assert client.recvfrom(100) == (b"who?", ("10.203.0.77", 9002))


def test_a_port_on_one_address_is_served_there_only(stack: Stack) -> None:
    stack.dockerd.run_udp_echo("-p", "127.0.0.3:9003:7/udp", "-p", "[::1]:9003:7/udp")
    up(stack, "127.0.0.3", 9003)
    up(stack, "::1", 9003)
    for address in ("127.0.0.1", Host.ip, Host.ip6):
        with pytest.raises(ConnectionRefusedError):
            stack.host.udp_ask(address, 9003, b"anybody?")


def test_a_client_that_keeps_its_source_port_is_answered_again_after_a_restart(stack: Stack) -> None:
    container = stack.dockerd.run_udp_echo("-p", "9004:7/udp")
    up(stack, "127.0.0.1", 9004)
    numbers = itertools.count()
    with stack.host.socket(socket.AF_INET, socket.SOCK_DGRAM, timeout=0.2) as client:

        def answered() -> bool:
            question = b"question %d" % next(numbers)
            client.sendto(question, ("127.0.0.1", 9004))
            while client.recv(100) != question:  # an earlier one's
                pass
            return True

        for _ in range(3):
            assert answered()
            stack.dockerd.api(f"/containers/{container}/restart?t=0", "POST")
            eventually(answered, 10, "an answer after the restart")


def test_a_client_that_asks_before_its_container_listens_is_answered_later_on_the_same_port(
    stack: Stack,
) -> None:
    """The container's host says "port unreachable" meanwhile, which ends nothing."""
    container = stack.dockerd.run(*python_container_args(), "-p", "9005:7/udp")
    with stack.host.socket(socket.AF_INET, socket.SOCK_DGRAM, timeout=0.2) as client:
        for _ in range(3):
            client.sendto(b"early", ("127.0.0.1", 9005))
        stack.dockerd.docker("exec", "--detach", container, container_python(), "-c", UDP_ECHO, "7")

        def answered() -> bool:
            client.sendto(b"now?", ("127.0.0.1", 9005))
            return client.recv(100) == b"now?"

        eventually(answered, 10, "an answer once the container listens")


def test_tcp_and_udp_on_one_port_are_two_bindings(stack: Stack) -> None:
    stack.dockerd.run_udp_echo("-p", "9006:7/udp", "-p", "9006:7/tcp")
    up(stack, "127.0.0.1", 9006)
    assert stack.binding(9006, proto="udp")["mode"] == "udp"
    assert stack.binding(9006, proto="tcp")["mode"] == "auto"


def test_removing_a_container_frees_its_port_at_once(stack: Stack) -> None:
    container = stack.dockerd.run("-p", "9007:7/udp")
    for _ in range(2):
        stack.dockerd.docker("rm", "--force", container)
        assert stack.dockerd.proxies() == {}
        container = stack.dockerd.run("-p", "9007:7/udp")
    eventually(lambda: len(stack.registrar.bindings()) == 2, 10, "what is left is the last container's")
