"""Floods on the registrar's two doors while containers come and go: bounded, and nobody else notices."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from shim.registrar import http_server, registration
from tests.harness import flooder
from tests.harness.host import Host
from tests.harness.proxy import flags, start_proxy
from tests.harness.registrar import API_PORT, HostRegistrar
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]

NOBODY = 65534
API = f"127.0.0.1:{API_PORT}"


class Figures(NamedTuple):
    """What a registrar has of the machine: resident memory (MB) and file descriptors."""

    memory: float
    files: int


def figures(stack: Stack) -> Figures:
    process = Path("/proc", str(stack.registrar.pid))
    pages = int((process / "statm").read_text().split()[1])
    return Figures(round(pages * 4096 / 1e6, 1), len(list((process / "fd").iterdir())))


@pytest.fixture(scope="module")
def stack(artifact: Path) -> Iterator[Stack]:
    """With one engine: no flood reaches dockerd."""
    with Stack(artifact) as running:
        yield running


@contextmanager
def flood(stack: Stack, kind: str, address: str, count: int, user: int = 0) -> Iterator[None]:
    command = [sys.executable, flooder.__file__, kind, address, str(count), str(user)]
    process = stack.host.popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"flooding\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(10)


class Times(NamedTuple):
    """Seconds: of `docker run`, from its end to the first answer through Envoy, and of `docker rm -f`."""

    run: float
    served: float
    remove: float


def publish(stack: Stack, port: int) -> Times:
    begun = time.monotonic()
    stack.dockerd.run_http("hello", "-p", f"127.0.0.1:{port}:80", name=f"c{port}")
    running = time.monotonic()
    stack.get(port)
    served = time.monotonic()
    stack.dockerd.docker("rm", "--force", f"c{port}")
    return Times(running - begun, served - running, time.monotonic() - served)


def check_status(stack: Stack) -> float:
    """How long `status` takes to say that all is well."""
    begun = time.monotonic()
    done = stack.registrar.command("status", check=False)
    assert done.returncode == 0, done
    return time.monotonic() - begun


def genuine(stack: Stack) -> str:
    return str(stack.bootstrap["node"]["id"])


def show(kind: str, before: Figures, during: Figures, times: list[Times], status: float) -> None:
    slowest = Times(*map(max, zip(*times, strict=True)))
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in slowest._asdict().items())
    print(f"\n{kind}: {before} -> {during}; slowest: {seconds}; status {status:.1f} s")


@pytest.mark.parametrize("kind", ["silent", "half", "slow"])
def test_a_flood_of_registrations_holds_up_no_container(stack: Stack, kind: str) -> None:
    usual = publish(stack, 8299)
    before = figures(stack)
    with flood(stack, kind, str(stack.registrar.socket), 5000):
        times = [publish(stack, port) for port in (8300, 8301)]
        during = figures(stack)
        status = check_status(stack)
    show(f"registration, {kind}", before, during, times, status)
    assert max(each.run for each in times) < usual.run + 3
    assert max(each.served for each in times) < usual.served + 3
    assert during.files <= before.files + registration.CONNECTION_LIMIT + 10
    assert during.memory < before.memory + 20


def test_a_shim_that_finds_the_queue_full_is_found_when_docker_names_its_port(stack: Stack) -> None:
    os.kill(stack.registrar.pid, signal.SIGSTOP)
    try:
        with flood(stack, "silent", str(stack.registrar.socket), 5000):
            begun = time.monotonic()
            stack.dockerd.run_http("hello", "-p", "127.0.0.1:8303:80", name="c8303")
            assert time.monotonic() - begun < 3
            os.kill(stack.registrar.pid, signal.SIGCONT)
            # Its event was there all the time: before the flood has ended.
            assert stack.get(8303).text == "hello\n"
    finally:
        os.kill(stack.registrar.pid, signal.SIGCONT)
    stack.dockerd.docker("rm", "--force", "c8303")


def test_a_shim_that_finds_the_queue_full_is_found_without_docker(artifact: Path) -> None:
    with Host() as host, ExitStack() as clean:
        registrar = HostRegistrar(host, artifact, f"unix://{host.dir}/none", {})
        registrar.start()
        env = {**os.environ, "SHIM_SOCKET": str(registrar.socket)}
        os.kill(registrar.pid, signal.SIGSTOP)
        clean.callback(os.kill, registrar.pid, signal.SIGCONT)
        waiting = fill_queue(registrar.socket)
        for sock in waiting:
            clean.callback(sock.close)
        command = flags("tcp", ("127.0.0.1", 8304), ("192.0.2.1", 80))
        shim = clean.enter_context(host.call(start_proxy, artifact, command, env=env))
        os.kill(registrar.pid, signal.SIGCONT)
        eventually(
            lambda: [b["pid"] for b in registrar.bindings()] == [shim.pid], 2 * registration.NO_CALM, "found"
        )


def fill_queue(path: Path) -> list[socket.socket]:
    """Connections to a registrar that is stopped, as many as there can be."""
    waiting = []
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        waiting.append(sock)
        try:
            sock.connect(str(path))
        except BlockingIOError:
            return waiting


# Kinds of floods that come together, each with its number of connections.
FLOODS = {
    "silence": {"silent": 3000, "slow": 500, "headers": 150},
    "bodies": {"large": 150, "chunked": 150, "almost": 750},
    "polls": {"polls": 1500, "nodes": 25},
    "answers": {"pages": 500, "hasty": 100},
}


@pytest.mark.parametrize("what", FLOODS)
def test_another_users_flood_of_the_api_leaves_envoy_its_place(stack: Stack, what: str) -> None:
    since = envoy_since(stack)
    before = figures(stack)
    with ExitStack() as floods:
        for kind, count in FLOODS[what].items():
            floods.enter_context(flood(stack, kind, API, count, NOBODY))
        times = [publish(stack, port) for port in (8310, 8311)]
        during = figures(stack)
        status = check_status(stack)
    show(f"API, {what}", before, during, times, status)
    # Made-up Envoys delay what depends on Envoys, by no more than the patience with each step.
    assert max(each.served for each in times) < 5
    assert max(each.remove for each in times) < 5
    # Newcomers are there beside those whose places they take, which close when their tasks run next.
    assert during.files <= before.files + http_server.CONNECTION_LIMIT + 4 * http_server.ACCEPTED_AT_ONCE
    # Of one process for all of them, and memory is not given back.
    assert during.memory < 150
    assert envoy_since(stack) == since


def test_an_envoy_that_starts_in_the_middle_of_a_flood_is_served(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "127.0.0.1:8320:80", name="c8320")
    with flood(stack, "polls", API, FLOODS["polls"]["polls"], NOBODY):
        stack.envoy.stop()
        stack.envoy.start()
        assert stack.get(8320).text == "hello\n"
    stack.dockerd.docker("rm", "--force", "c8320")


def envoy_since(stack: Stack) -> str:
    """When the one Envoy that is none of the flood's connected."""
    envoys = json.loads(stack.registrar.read("/status").text)["envoys"]
    (found,) = [envoy["since"] for envoy in envoys if envoy["node"] == genuine(stack)]
    return str(found)
