"""Containers come and go, and so do the registrar and Envoy: what is served, and how soon.

Under load: faults/test_restart_loops.py; with each part killed: faults/test_every_process_dies.py.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness import clients
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

AT_ONCE = 5.0  # for a whole `docker run`: far below the 16 s after which dockerd gives a proxy up


def refused(stack: Stack, port: int, address: str = "127.0.0.1") -> bool:
    try:
        stack.host.connect(address, port).close()
    except ConnectionRefusedError:
        return True
    return False


@contextlib.contextmanager
def took_at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE


# -- containers ----------------------------------------------------------------------------------------


def test_a_port_is_free_although_clients_still_hold_connections_to_it(stack: Stack) -> None:
    container = stack.dockerd.run_http("old", "-p", "8102:80")
    stack.get(8102)
    request = clients.head("GET", "/")
    with contextlib.ExitStack() as opened:
        for _ in range(5):
            peer = opened.enter_context(stack.host.connect("127.0.0.1", 8102))
            stream = opened.enter_context(peer.makefile("rb"))
            peer.sendall(request)
            assert clients.read_answer(stream).status == 200
        stack.dockerd.docker("rm", "--force", container)
        stack.dockerd.run_http("new", "-p", "8102:80")
        assert stack.get(8102).text == "new\n"


def test_a_removed_container_is_not_served_any_more(stack: Stack) -> None:
    container = stack.dockerd.run_http("gone", "-p", "8103:80")
    stack.get(8103)
    stack.dockerd.docker("rm", "--force", container)
    assert refused(stack, 8103) and refused(stack, 8103, "::1")
    assert [b for b in stack.registrar.bindings() if b["port"] == 8103] == []


def test_a_container_that_ends_by_itself_is_not_served_any_more(stack: Stack) -> None:
    container = stack.dockerd.run_http("ends", "-p", "8104:80")
    stack.get(8104)
    stack.dockerd.docker("kill", container)
    eventually(lambda: refused(stack, 8104), 5, "the port is closed")


def test_host_addresses_on_one_port_are_bindings_of_their_own(stack: Stack) -> None:
    first = stack.dockerd.run_http("loopback", "-p", "127.0.0.1:8105:80", labels={"ServiceName": "inner"})
    stack.dockerd.run_http("wire", "-p", f"{Host.ip}:8105:80", "-p", "[::1]:8105:80")
    assert stack.get(8105, "127.0.0.1").text == "loopback\n"
    assert stack.get(8105, Host.ip).text == "wire\n"
    assert stack.get(8105, "::1").text == "wire\n"
    stack.dockerd.docker("rm", "--force", first)
    assert refused(stack, 8105)
    assert stack.get(8105, Host.ip).text == "wire\n"
    stack.dockerd.run_http("next", "-p", "127.0.0.1:8105:80")
    assert stack.get(8105, "127.0.0.1").text == "next\n"
    assert stack.get(8105, "::1").text == "wire\n"


# -- the registrar and Envoy ---------------------------------------------------------------------------


@pytest.fixture
def no_registrar(stack: Stack) -> Iterator[None]:
    stack.registrar.end()
    yield
    if not running(stack):
        stack.registrar.start()


def running(stack: Stack) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(stack.registrar.socket)) == 0


@pytest.mark.usefixtures("no_registrar")
def test_a_container_starts_without_a_registrar_and_is_served_once_there_is_one(stack: Stack) -> None:
    with took_at_once():
        stack.dockerd.run_http("early", "-p", "8110:80", labels={"ServiceName": "web"})
    assert refused(stack, 8110)
    stack.registrar.start()
    assert stack.get(8110).text == "early\n"
    assert stack.binding(8110)["cluster"] == "web-8110"


def test_a_container_starts_beside_a_registrar_that_hangs_and_is_served_once_it_goes_on(stack: Stack) -> None:
    os.kill(stack.registrar.pid, signal.SIGSTOP)
    try:
        with took_at_once():
            stack.dockerd.run_http("early", "-p", "8111:80")
        assert refused(stack, 8111)
    finally:
        os.kill(stack.registrar.pid, signal.SIGCONT)
    assert stack.get(8111).text == "early\n"


def test_a_container_starts_without_an_envoy_and_is_served_once_there_is_one(stack: Stack) -> None:
    stack.envoy.stop()
    try:
        with took_at_once():
            stack.dockerd.run_http("early", "-p", "8112:80")
        assert stack.binding(8112, "published")["acknowledged_by"] == []
        assert refused(stack, 8112)
    finally:
        stack.envoy.start()
    assert stack.get(8112).text == "early\n"
    assert stack.binding(8112)["acknowledged_by"] != []


def test_a_killed_registrars_successor_finds_all_by_itself_and_envoy_notices_nothing(stack: Stack) -> None:
    stack.dockerd.run_http("stays", "-p", "8115:80", "-p", "8116:80/udp", labels={"ServiceName": "web"})
    stack.get(8115)
    before, changes = identities(stack), listener_changes(stack)
    stack.registrar.end(signal.SIGKILL)
    assert stack.get(8115).text == "stays\n"
    stack.registrar.start()
    assert stack.binding(8115)["cluster"] == "web-8115"
    assert identities(stack) == before
    assert listener_changes(stack) == changes
    assert stack.get(8115).text == "stays\n"


def identities(stack: Stack) -> list[tuple[str, str, int, int]]:
    return sorted((b["protocol"], b["address"], b["port"], b["pid"]) for b in stack.registrar.bindings())


def listener_changes(stack: Stack) -> dict[str, int]:
    return stack.envoy.stats("^listener_manager.listener_(added|modified|removed)$")


@pytest.mark.usefixtures("no_registrar")
def test_what_is_removed_while_no_registrar_runs_is_withdrawn_by_the_next(stack: Stack) -> None:
    stack.registrar.start()
    gone = stack.dockerd.run_http("gone", "-p", "8117:80")
    stack.dockerd.run_http("stays", "-p", "8118:80")
    stack.get(8117)
    stack.get(8118)
    stack.registrar.end(signal.SIGKILL)
    with took_at_once():
        stack.dockerd.docker("rm", "--force", gone)
    stack.registrar.start()
    eventually(lambda: refused(stack, 8117), 5, "the port is closed")
    assert stack.get(8118).text == "stays\n"
