"""ClientAddress=keep: containers see the addresses of clients on the network, and everybody else is served as ever."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.firewall.rig import (
    SECOND,
    SIX,
    Inside,
    add_six,
    ask,
    led_to_envoy,
    remove_all,
    run_who,
    stack_with,
    status,
)
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.netns import Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

KEEP = {"ClientAddress": "keep"}
HTTP, TCP = 8080, 8081


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with stack_with(artifact, engine) as running:
        add_six(running.dockerd)
        yield running


@pytest.fixture
def kept(stack: Stack) -> Iterator[None]:
    """A container in each mode, of both IP versions."""
    for port, mode in ((HTTP, "http"), (TCP, "tcp")):
        labels = {**KEEP, "ProxyMode": mode, "ServiceName": mode}
        run_who(stack.dockerd, mode, "-p", f"{port}:80", "--network", SIX, name=mode, labels=labels)
    wait_until_kept(stack, HTTP, TCP)
    yield
    remove_all(stack.dockerd)


def wait_until_kept(stack: Stack, *ports: int) -> None:
    def kept() -> bool:
        found = {(b["port"], (b["client_address"] or {}).get("kept")) for b in stack.registrar.bindings()}
        return found == {(port, True) for port in ports}

    eventually(kept, 10, f"client addresses are kept at {ports}")


def routing(host: Namespace) -> str:
    found = [host.run("ip", f"-{v}", "rule", "show", "priority", "7776") for v in (4, 6)]
    found += [host.run("ip", f"-{v}", "route", "show", "table", "all") for v in (4, 6)]
    return "".join(line for text in found for line in text.splitlines() if "7776" in line)


@pytest.mark.usefixtures("kept")
def test_who_sees_whom(stack: Stack, engine: Engine) -> None:
    for port, mode in ((HTTP, "http"), (TCP, "tcp")):
        for ip, client in ((Host.ip, Host.neighbour_ip), (SECOND, Host.neighbour_ip), (Host.ip6, Host.neighbour_ip6)):
            print(engine.name, mode, ip, ask(stack.host.neighbour, ip, port))
            assert ask(stack.host.neighbour, ip, port)[:2] == (mode, client)
        inside = Inside(stack.dockerd, mode)
        for source, ips in ((stack.host, ("127.0.0.1", Host.ip, "::1", Host.ip6)), (inside, (Host.ip,))):
            for ip in ips:
                assert Host.neighbour_ip not in ask(source, ip, port)
    print(stack.envoy.stats("^(http|tcp)\\..*total"))
    print(stack.host.run("nft", "list", "table", "inet", "envoy_docker_shim"))
    print(status(stack)[1])
