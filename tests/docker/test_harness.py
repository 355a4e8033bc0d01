"""The harness itself, shown with each engine's own docker-proxy."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.docker import Dockerd
from tests.harness.engines import Engine
from tests.harness.host import CommandError, Host, eventually, shim_sockets

pytestmark = pytest.mark.docker

ECHOES = 20


@pytest.fixture(scope="module")
def dockerd(engine: Engine) -> Iterator[Dockerd]:
    with Host(neighbour=True) as host, Dockerd(host, engine) as running:
        yield running


@pytest.fixture
def host(dockerd: Dockerd) -> Host:
    return dockerd.host


def test_runs_the_engine_it_was_asked_for(dockerd: Dockerd, engine: Engine) -> None:
    version = dockerd.api("/version")["Version"]
    assert version.startswith(engine.version)
    assert (int(version.split(".", 1)[0]) >= 28) == (engine.name == "28")


def test_calls_in_the_namespace_see_its_network_and_the_callers_stay_outside(host: Host) -> None:
    ours = os.stat("/proc/thread-self/ns/net").st_ino
    inside = host.call(lambda: os.stat("/proc/thread-self/ns/net").st_ino)
    assert inside == host.path.stat().st_ino != ours
    assert os.stat("/proc/thread-self/ns/net").st_ino == ours
    assert "eth0" in host.call(lambda: [name for _, name in socket.if_nameindex()])


def test_a_call_passes_on_what_was_raised(host: Host) -> None:
    with pytest.raises(ZeroDivisionError):
        host.call(lambda: 1 // 0)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]", Host.ip, f"[{Host.ip6}]"])
def test_a_published_port_answers_over_ipv4_and_ipv6(dockerd: Dockerd, host: Host, address: str) -> None:
    container = dockerd.run_http("hello", "-p", "8080:80")
    try:
        eventually(lambda: host.http_get(f"http://{address}:8080/").text == "hello\n")
        assert host.http_get(f"http://{address}:8080/nothing").status == 404
    finally:
        dockerd.docker("rm", "-f", container)


def test_the_neighbour_reaches_what_is_not_published_on_loopback_only(dockerd: Dockerd, host: Host) -> None:
    container = dockerd.run_http("hello", "-p", "8080:80", "-p", "127.0.0.1:8081:80")
    try:
        eventually(lambda: host.http_get("http://127.0.0.1:8081/").text == "hello\n")
        assert host.neighbour.http_get(f"http://{host.ip}:8080/").text == "hello\n"
        assert host.neighbour.http_get(f"http://[{host.ip6}]:8080/").text == "hello\n"
        with pytest.raises(ConnectionRefusedError):
            host.neighbour.connect(host.ip, 8081)
    finally:
        dockerd.docker("rm", "-f", container)


def test_udp_and_tcp_echo(dockerd: Dockerd, host: Host) -> None:
    containers = [dockerd.run_udp_echo("-p", "7:7/udp"), dockerd.run_tcp_echo("-p", "7:7")]
    try:
        eventually(lambda: host.udp_ask("127.0.0.1", 7, b"up?", timeout=0.3) == b"up?")
        for number in range(ECHOES):
            assert host.udp_ask("127.0.0.1", 7, b"%d" % number) == b"%d" % number
            assert host.udp_ask("::1", 7, b"%d" % number) == b"%d" % number
        eventually(lambda: _tcp_ask(host, b"line\n") == b"line\n")
    finally:
        dockerd.docker("rm", "-f", *containers)


def test_this_python_runs_in_a_container_with_its_packages(dockerd: Dockerd, host: Host) -> None:
    serve = ("-m", "tests.harness.backends", "http", "80", "0.0.0.0")
    container = dockerd.run_python(*serve, options=["-p", "8080:80"])
    try:
        eventually(lambda: host.http_get("http://127.0.0.1:8080/").status == 200)
    finally:
        dockerd.docker("rm", "-f", container)


def test_one_proxy_runs_for_each_port_and_address_family(dockerd: Dockerd) -> None:
    container = dockerd.run("-p", "8080:80", "-p", "127.0.0.1:8081:81/udp")
    try:
        published = [argv[argv.index("-host-port") + 1] for argv in dockerd.proxies().values()]
        assert sorted(published) == ["8080", "8080", "8081"]
    finally:
        dockerd.docker("rm", "-f", container)
    assert dockerd.proxies() == {}


def test_a_failing_docker_command_says_why(dockerd: Dockerd) -> None:
    with pytest.raises(CommandError, match=r"No such image|Unable to find image"):
        dockerd.run("--pull=never", image="eds/none:1")


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_dockerd_restarts_and_its_containers_with_it(dockerd: Dockerd, host: Host, kill: bool) -> None:
    container = dockerd.run_http("again", "-p", "8080:80", "--restart=always")
    try:
        eventually(lambda: host.http_get("http://127.0.0.1:8080/").text == "again\n")
        dockerd.restart(kill=kill)
        eventually(lambda: host.http_get("http://127.0.0.1:8080/").text == "again\n")
    finally:
        dockerd.docker("rm", "-f", container)


@pytest.mark.parametrize("killed", [False, True], ids=["running", "dockerd-killed"])
def test_closing_a_host_leaves_nothing(engine: Engine, killed: bool) -> None:
    host = Host(neighbour=True)
    with host:
        dockerd = Dockerd(host, engine)
        dockerd.start()
        dockerd.run_http("hello", "-p", "8080:80")
        dockerd.run("-p", "8081:80", "--network=host")
        host.popen(["sleep", "1000000"])
        host.neighbour.popen(["sleep", "1000000"])
        if killed:
            dockerd.kill()
        pids = host.pids()
        assert len(pids) >= 6 and len(host.leftovers()) > 6
        sockets = shim_sockets(host.dir)
        assert sockets and all(path.exists() for path in sockets)
    assert host.leftovers() == []
    assert [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()] == []
    assert [path for path in sockets if path.exists()] == []
    host.close()


def _tcp_ask(host: Host, data: bytes) -> bytes:
    with host.connect("127.0.0.1", 7) as sock:
        sock.sendall(data)
        return sock.recv(100)
