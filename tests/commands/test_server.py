"""The registrar as a process: how it starts, refuses to start, and ends."""

import signal
import socket
from pathlib import Path

import pytest

from tests.commands.running import Site


@pytest.fixture
def site(artifact: Path, tmp_path: Path) -> Site:
    return Site(artifact, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_on_a_signal_and_takes_its_socket_along(site: Site, number: signal.Signals) -> None:
    with site.running("server") as server:
        site.wait_until_healthy()
        assert site.socket.stat().st_mode & 0o777 == 0o600
        server.send_signal(number)
        assert server.wait(10) == 0
    assert not site.socket.exists()


def test_a_second_registrar_on_the_same_socket_is_refused(site: Site) -> None:
    with site.running("server"):
        site.wait_until_healthy()
        second = site.run("server")
        assert second.returncode == 1
        assert f"{site.socket}: another registrar serves it already" in second.stderr
        assert site.read("/healthz").status == 200


def test_a_socket_file_that_nobody_serves_is_no_obstacle(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(site.socket))
    with site.running("server"):
        site.wait_until_healthy()


def test_an_api_address_that_is_taken_is_named(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.api)):
        refused = site.run("server")
    assert refused.returncode == 1
    assert f"api_address 127.0.0.1:{site.api}: Address already in use" in refused.stderr


def test_systemd_is_told_ready_once_it_serves_and_stopping_when_it_ends(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)
        with site.running("server", NOTIFY_SOCKET=str(path)) as server:
            assert systemd.recv(100) == b"READY=1"
            assert site.read("/healthz").status == 200
            server.terminate()
            assert systemd.recv(100) == b"STOPPING=1"


def test_a_wrong_configuration_ends_it_with_2_and_one_line(site: Site) -> None:
    site.config.write_text("sampling: 3\n")
    refused = site.run("server")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"envoy-docker-shim: {site.config}: unknown key sampling")
    assert refused.stderr.count("\n") == 1


def test_the_environment_overrides_the_file(site: Site) -> None:
    with site.running("server", SHIM_SOCKET=f"{site.socket}2"):
        site.wait_until_healthy()
        assert Path(f"{site.socket}2").exists()


def test_status_says_what_needs_a_look(site: Site) -> None:
    absent = site.run("status")
    assert absent.returncode == 1
    assert "is `envoy-docker-shim server` running?" in absent.stderr
    with site.running("server"):
        site.wait_until_healthy()
        shown = site.run("status")
    assert shown.returncode == 1
    assert "! no Envoy is connected: published TCP ports are not served" in shown.stdout
