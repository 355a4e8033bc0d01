"""The registrar as a process: how it starts, refuses to start, and ends."""

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually


@pytest.fixture
def registrar(artifact: Path, tmp_path: Path) -> LoopbackRegistrar:
    return LoopbackRegistrar(artifact, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_on_a_signal_and_takes_its_socket_along(
    registrar: LoopbackRegistrar, number: signal.Signals
) -> None:
    with registrar.running() as server:
        registrar.wait_until_healthy()
        assert registrar.socket.stat().st_mode & 0o777 == 0o600
        server.send_signal(number)
        assert server.wait(10) == 0
    assert not registrar.socket.exists()


def test_a_second_registrar_on_the_same_socket_is_refused(registrar: LoopbackRegistrar) -> None:
    with registrar.running():
        registrar.wait_until_healthy()
        second = registrar.command("server", check=False)
        assert second.returncode == 1
        assert f"{registrar.socket}: another registrar serves it already" in second.stderr
        assert registrar.read("/healthz").status == 200


def test_a_socket_file_that_nobody_serves_is_no_obstacle(registrar: LoopbackRegistrar) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(registrar.socket))
    with registrar.running():
        registrar.wait_until_healthy()


def test_an_api_address_that_is_taken_is_named(registrar: LoopbackRegistrar) -> None:
    with socket.create_server(("127.0.0.1", registrar.api)):
        refused = registrar.command("server", check=False)
    assert refused.returncode == 1
    assert f"api_address 127.0.0.1:{registrar.api}: Address already in use" in refused.stderr


def test_systemd_is_told_ready_once_it_serves_and_stopping_when_it_ends(
    registrar: LoopbackRegistrar, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)
        with registrar.running(env={"NOTIFY_SOCKET": str(path)}) as server:
            assert systemd.recv(100) == b"READY=1"
            assert registrar.read("/healthz").status == 200
            server.terminate()
            assert systemd.recv(100) == b"STOPPING=1"


def test_a_wrong_configuration_ends_it_with_2_and_one_line(registrar: LoopbackRegistrar) -> None:
    registrar.config.write_text("sampling: 3\n")
    refused = registrar.command("server", check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"envoy-docker-shim: {registrar.config}: unknown key sampling")
    assert refused.stderr.count("\n") == 1


def test_the_environment_overrides_the_file(registrar: LoopbackRegistrar) -> None:
    with registrar.running(env={"SHIM_SOCKET": f"{registrar.socket}2"}):
        registrar.wait_until_healthy()
        assert Path(f"{registrar.socket}2").exists()


def test_status_says_what_needs_a_look(registrar: LoopbackRegistrar) -> None:
    absent = registrar.command("status", check=False)
    assert absent.returncode == 1
    assert "is `envoy-docker-shim server` running?" in absent.stderr
    with registrar.running():
        registrar.wait_until_healthy()
        shown = registrar.command("status", check=False)
    assert shown.returncode == 1
    # Which of the two depends on whether this machine has rules of Docker's.
    past = "clients on the network reach containers by Docker's own rules, and those on this host are refused"
    lines = [line.partition(": ") for line in shown.stdout.splitlines()]
    told = [text for what, _, text in lines if what == "! no Envoy is connected"]
    assert told in (["published TCP ports are not served"], [past])


def test_an_envoy_that_is_too_old_is_named(registrar: LoopbackRegistrar) -> None:
    version = {"version": {"major_number": 1, "minor_number": 36, "patch": 4}}
    poll = json.dumps({"node": {"id": "old-one", "user_agent_build_version": version}}).encode()
    with registrar.running(), socket.socket() as envoy:
        registrar.wait_until_healthy()
        envoy.connect(("127.0.0.1", registrar.api))
        head = f"POST /v3/discovery:listeners HTTP/1.1\r\nHost: x\r\nContent-Length: {len(poll)}\r\n\r\n"
        envoy.sendall(head.encode() + poll)
        line = "Envoy old-one is version 1.36.4, and the oldest that is supported is 1.38"
        eventually(lambda: line in registrar.command("status", check=False).stdout, 20, line)
    assert "Envoy old-one is version 1.36.4" in registrar.log.read_text()
