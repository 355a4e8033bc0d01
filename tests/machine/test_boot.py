"""A boot of a host with many containers: registrar and Envoy are there first, and nobody waits for them."""

import re
import time
from pathlib import Path

import pytest

from tests.harness.docker import IMAGE
from tests.harness.engines import find_engine
from tests.harness.machine import Machine
from tests.harness.wait import eventually
from tests.machine.conftest import booted
from tests.machine.installing import install_by_hand

pytestmark = [pytest.mark.machine, pytest.mark.envoy]

CONTAINERS = 50
REGISTRAR, ENVOY, DOCKER = "envoy-docker-shim.service", "envoy.service", "docker.service"
# Seconds; and where others keep the machine busy, as long as four starts of Python with all that is ours.
WAIT, STARTS = 1.0, 4


def moment(machine: Machine, unit: str, what: str) -> float:
    """When it began ("InactiveExit") or was active ("ActiveEnter") in this boot: seconds; 0 for never."""
    name = f"{what}TimestampMonotonic"
    return int(machine.unit(unit, name)[name] or 0) / 1e6


def logged(machine: Machine, unit: str, text: str) -> float:
    """When the unit's journal first had this in it: seconds since the epoch."""
    lines = machine.run(
        "journalctl", "--boot", "--quiet", "--output=short-unix", f"--unit={unit}"
    ).splitlines()
    return min(float(line.split()[0]) for line in lines if text in line)


@pytest.mark.alone
def test_a_boot_of_fifty_containers_waits_for_nobody(artifact: Path) -> None:
    with booted(find_engine("28")) as machine:
        install_by_hand(machine, artifact)
        # Containers as light as there are: what they do is not what is asked about.
        run = f"docker run -d --stop-signal=KILL --restart=always --name=c%1 -p 81%1:80 {IMAGE} sleep 1000000"
        numbers = "\\n".join(f"{number:02}" for number in range(CONTAINERS))
        machine.shell(f"printf '{numbers}\\n' | xargs -I%1 -P4 {run} >/dev/null", timeout=300)
        machine.reboot()

        def served() -> bool:
            return machine.shell("envoy-docker-shim status || :").count("serving  tcp/") == 2 * CONTAINERS

        eventually(served, 60, "every port is served")
        machine.run("envoy-docker-shim", "status")

        starts = moment(machine, DOCKER, "InactiveExit")
        assert 0 < moment(machine, REGISTRAR, "ActiveEnter") <= starts
        assert 0 < moment(machine, ENVOY, "ActiveEnter") <= starts
        others = machine.unit(DOCKER, "After")["After"].split()
        ready = {
            unit: moment(machine, unit, "ActiveEnter") for unit in others if unit not in (REGISTRAR, ENVOY)
        }
        last = max(moment(machine, unit, "ActiveEnter") for unit in (REGISTRAR, ENVOY))
        waited = last - max(at for at in ready.values() if at <= starts)
        ours = last - moment(machine, REGISTRAR, "InactiveExit")
        containers = machine.shell("docker inspect --format={{.State.StartedAt}} $(docker ps -aq)").split()
        first = float(machine.run("date", "+%s.%N", f"--date={min(containers)}"))
        ahead = first - logged(machine, REGISTRAR, " connected, version")
        began = time.monotonic()
        machine.run("envoy-docker-shim", "bootstrap")
        took = time.monotonic() - began
        print(f"registrar and Envoy took {ours:.2f} s, a command takes {took:.2f} s; Docker waited ", end="")
        print(f"{waited:.2f} s for them alone; its first container started {ahead:.2f} s after Envoy's poll")
        assert waited < max(WAIT, STARTS * took)
        assert ahead > 0
        # Each was registered at its start: no shim had to go on without.
        shims = machine.run(
            "journalctl", "--boot", "--quiet", "--identifier=envoy-docker-shim", "--output=cat"
        )
        assert "registrar does not answer" not in shims
        assert not re.findall("timed out|Timed out", machine.journal(DOCKER))


def test_docker_comes_up_beside_a_registrar_that_cannot_start(machine: Machine, artifact: Path) -> None:
    install_by_hand(machine, artifact)
    machine.run_http("hello", "--name=web", "--publish=8080:80", "--restart=always")
    machine.put("/etc/envoy-docker-shim.yaml", "no_such_key: 1\n")
    machine.reboot()
    eventually(lambda: machine.client.http_get(f"http://{machine.ip}:8080/").text == "hello\n", 30)
    starts = moment(machine, DOCKER, "InactiveExit")
    assert starts - moment(machine, REGISTRAR, "InactiveExit") < 10
