"""Who has no right to a port poses as its shim, for a registrar that looks for shims in /proc."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.wire.words import MARK
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

PORT = 8080
IMPOSTOR = Path(__file__).with_name("impostor.sh").read_text()


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(stack: Stack) -> Iterator[None]:
    yield
    if left := stack.dockerd.docker("ps", "--all", "--quiet").split():
        stack.dockerd.docker("rm", "--force", *left)


def restart_registrar(stack: Stack) -> None:
    stack.registrar.end()
    stack.registrar.start()


@pytest.mark.parametrize("options", [["--network=host"], ["--network=host", "--pid=host"]], ids=" ".join)
def test_a_container_in_the_hosts_network_is_taken_for_no_shim(stack: Stack, options: list[str]) -> None:
    """root's process, as old as the port, with a shim's command line and a shim's two pipes."""
    for ip in ("127.0.0.1", "0.0.0.0"):
        fake = stack.dockerd.run(*options, cmd=["sh", "-c", IMPOSTOR, "sh", MARK, ip, str(PORT)])
        eventually(lambda: stack.host.http_get("http://127.0.0.1:9099/").text == "stolen\n")
        stack.dockerd.run_http("hello", "-p", f"{PORT}:80", name="victim")
        assert stack.get(PORT).text == "hello\n"
        restart_registrar(stack)
        found = {binding["pid"] for binding in stack.registrar.bindings()}
        assert found == set(stack.dockerd.proxies())
        assert stack.get(PORT).text == "hello\n"
        status = stack.registrar.command("status", "--config", str(stack.registrar.config), check=False)
        assert "unknown to the registrar" not in status.stdout
        stack.dockerd.docker("rm", "--force", "victim", fake)
