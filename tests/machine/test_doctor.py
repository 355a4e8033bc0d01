"""`doctor` on a host that boots, installed as the README says: its units, and Docker's own settings."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import find_engine
from tests.harness.machine import Machine
from tests.harness.wait import eventually
from tests.machine.conftest import booted
from tests.machine.installing import install_by_hand

pytestmark = [pytest.mark.machine, pytest.mark.envoy]

DAEMON = "/etc/docker/daemon.json"


@pytest.fixture(scope="module")
def machine(artifact: Path) -> Iterator[Machine]:
    """One engine does for all: none of it is the engine's doing."""
    with booted(find_engine("28")) as running:
        running.run_http("hello", "--name=c1", "--publish=8080:80", "--restart=always")
        install_by_hand(running, artifact)
        yield running


def found(machine: Machine) -> dict[str, str]:
    """Check -> "what -> cure" of its first finding."""
    report = json.loads(machine.shell("envoy-docker-shim doctor --json || :"))
    return {
        check["name"]: "{what} -> {cure}".format(**check["findings"][0])
        for check in report["checks"]
        if check["findings"]
    }


def is_healthy(machine: Machine) -> None:
    """Returns once every check is made and finds nothing."""
    command = ("envoy-docker-shim", "doctor")
    eventually(
        lambda: machine.run(*command).endswith("checks: nothing found\n"),
        30,
        "it finds nothing",
        interval=0.3,
    )


def test_an_installed_host_is_healthy_and_is_after_a_reboot(machine: Machine) -> None:
    is_healthy(machine)
    machine.reboot()
    is_healthy(machine)


def test_a_unit_that_is_disabled_and_one_that_is_stopped(machine: Machine) -> None:
    machine.run("systemctl", "disable", "envoy")
    report = found(machine)
    assert report.keys() == {"units"}
    assert report["units"].startswith("envoy.service is disabled: after the next boot it is not there")
    machine.run("systemctl", "stop", "envoy")
    report = found(machine)
    assert report.keys() == {"units", "envoy"}
    # The cure, as it is printed.
    machine.shell(report["units"].partition(" -> ")[2])
    is_healthy(machine)


def test_a_unit_that_does_not_stay_up(machine: Machine) -> None:
    """There is no Envoy where its unit looks."""
    machine.shell("mv /usr/local/bin/envoy /usr/local/bin/envoy.away && systemctl restart envoy || :")
    eventually(lambda: "does not stay up" in found(machine).get("units", ""), 10)
    machine.shell("mv /usr/local/bin/envoy.away /usr/local/bin/envoy && systemctl restart envoy")
    is_healthy(machine)


def test_a_dockerd_that_is_stopped_stays_so(machine: Machine) -> None:
    machine.run("systemctl", "stop", "docker.service")
    assert machine.run("systemctl", "is-active", "docker.socket").strip() == "active"
    report = found(machine)
    assert report["docker"].startswith(
        "Docker does not answer on unix:///var/run/docker.sock: no dockerd runs"
    )
    assert machine.unit("docker.service", "ActiveState") == {"ActiveState": "inactive"}
    machine.run("systemctl", "start", "docker.service")
    is_healthy(machine)


def test_a_dockerd_that_runs_with_its_old_settings(machine: Machine) -> None:
    settings = machine.read(DAEMON)
    machine.shell(f"rm {DAEMON} && systemctl restart docker")
    eventually(lambda: machine.run("pgrep", "--count", "docker-proxy").strip() != "0")
    assert found(machine).keys() == {"proxy-path", "shims"}
    machine.put(DAEMON, settings)
    report = found(machine)
    assert report.keys() == {"shims"}
    assert "restart Docker: it runs with settings from before" in report["shims"]
    status = machine.shell("envoy-docker-shim status && echo fine || echo found")
    assert "2 published ports have no shim" in status and status.endswith("found\n")
    machine.run("systemctl", "restart", "docker")
    is_healthy(machine)
