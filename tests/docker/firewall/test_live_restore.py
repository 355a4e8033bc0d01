"""A dockerd that restarts under live-restore, with forty ports.

With EDS_COMPARE in the environment the same is told of docker-proxy, which nothing is asked of here.
"""

import os
from pathlib import Path

import pytest

from tests.docker.firewall.pauses import Crowd
from tests.docker.firewall.rig import docker_defaults, led_to_envoy, stack_with
from tests.harness.docker import Dockerd
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.wait import eventually

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]

PORTS = range(8400, 8420)
CONTAINERS = ("one", "two")


def publish(dockerd: Dockerd) -> None:
    for name, ports in zip(CONTAINERS, (PORTS, range(8420, 8440)), strict=True):
        dockerd.run_http("hello", *(word for port in ports for word in ("-p", f"{port}:80")), name=name)


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_dockerd_that_returns_is_nobodys_outage(artifact: Path, engine: Engine, kill: bool) -> None:
    with stack_with(artifact, engine, "--live-restore") as stack:
        publish(stack.dockerd)
        led_to_envoy(stack, *range(8400, 8440))
        with Crowd(stack.host, 8439, six=False) as crowd:
            crowd.go_on()
            crowd.mark("ends")
            (stack.dockerd.kill if kill else stack.dockerd.stop)()
            crowd.go_on()
            crowd.mark("starts")
            stack.dockerd.start()
            eventually(lambda: not any(b["orphan"] for b in stack.registrar.bindings()), 20, "successors")
            led_to_envoy(stack, *range(8400, 8440))
            crowd.go_on()
        crowd.report(f"engine {engine.name}, dockerd {'killed' if kill else 'restarted'}, 40 ports")
    if not kill and "EDS_COMPARE" in os.environ:
        beside_docker_proxy(engine)
    assert not crowd.story()
    # A held client's TCP asks again after one second, and after two more.
    assert crowd.slowest() < 7


def beside_docker_proxy(engine: Engine) -> None:
    """What clients see of the same where nothing is ours."""
    with Host(neighbour=True) as host:
        stock = Dockerd(host, engine, None, *docker_defaults(engine), "--live-restore")
        with stock:
            with Crowd(host, 8439, six=False) as first:
                publish(stock)
                first.go_on()
            first.report(f"engine {engine.name}, docker run with docker-proxy")
            with Crowd(host, 8439, six=False) as beside:
                beside.go_on()
                stock.stop()
                stock.start()
                beside.go_on()
        beside.report(f"engine {engine.name}, the same with docker-proxy")
