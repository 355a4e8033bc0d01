"""`status` tells of the host too: exit 1 and a line for what only the host can know."""

import json
import os
import signal

import pytest

from tests.docker.doctor.faults import FAULTS
from tests.docker.doctor.making import container
from tests.docker.doctor.rig import Rig
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def run(rig: Rig) -> tuple[int, str]:
    done = rig.stack.registrar.command("status", check=False)
    return done.returncode, done.stdout


def is_healthy(rig: Rig) -> None:
    eventually(lambda: run(rig)[0] == 0, 20, "status finds nothing", interval=0.2)
    assert "!" not in run(rig)[1] and "?" not in run(rig)[1]


def test_published_ports_without_a_shim(rig: Rig) -> None:
    with FAULTS["shims-killed"].put_in(rig):
        code, text = run(rig)
        assert code == 1
        assert (
            "! 1 published ports have no shim, so that Envoy does not serve them: tcp/0.0.0.0:8090 (patient)"
            in text
        )
        report = json.loads(rig.stack.registrar.command("status", "--json", check=False).stdout)
        assert report["host"]["without_shim"] == [{"address": "tcp/0.0.0.0:8090", "container": "patient"}]
    is_healthy(rig)


def test_ports_that_the_hosts_firewall_drops(rig: Rig) -> None:
    with FAULTS["input-chain-that-drops-by-default"].put_in(rig):
        code, text = run(rig)
        assert code == 1
        assert "! network clients of tcp/0.0.0.0:5432 (db), tcp/[::]:5432 (db)" in text
        assert "are dropped by the host's firewall: chain input of table inet ward" in text
    is_healthy(rig)


def test_a_table_that_somebody_takes_away_again_and_again(rig: Rig) -> None:
    forever = "while :; do nft delete table inet envoy_docker_shim; done"
    process = rig.host.popen(["sh", "-c", forever], log=rig.host.dir / "thief.log")
    try:
        eventually(lambda: "led past Envoy by Docker's own rules" in run(rig)[1], 10, "status says so")
        assert run(rig)[0] == 1
    finally:
        process.kill()
        process.wait(10)
    is_healthy(rig)


def test_without_docker_it_says_what_it_does_not_know_and_goes_on(rig: Rig) -> None:
    registrar = rig.stack.registrar
    before = registrar.env["DOCKER_HOST"]
    registrar.env["DOCKER_HOST"] = f"unix://{rig.host.dir}/nowhere.sock"
    try:
        code, text = run(rig)
    finally:
        registrar.env["DOCKER_HOST"] = before
    assert code == 0
    assert "? not checked: whether every published port has a shim: Docker: No such file or directory" in text


def test_a_docker_that_hangs_does_not_hold_it_up(rig: Rig) -> None:
    os.kill(rig.dockerd.pid, signal.SIGSTOP)
    try:
        assert "Docker: no answer within 3 s" in run(rig)[1]
    finally:
        os.kill(rig.dockerd.pid, signal.SIGCONT)
    is_healthy(rig)


def test_a_container_that_starts_and_stops_is_no_finding(rig: Rig) -> None:
    for _ in range(2):
        with container(rig, "-p", "8092:80", cmd=("httpd", "-f", "-p", "80")):
            assert "have no shim" not in run(rig)[1]
        assert "have no shim" not in run(rig)[1]
