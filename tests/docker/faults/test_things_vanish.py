"""What is taken away, or stands still, under a running system."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as stack:
        yield stack


def test_a_registration_socket_that_is_taken_away_is_made_again(stack: Stack) -> None:
    """... and the container that could not reach it is served all the same."""
    stack.registrar.socket.unlink()
    stack.dockerd.run_http("unheard", "-p", "8080:80", name="unheard")
    assert stack.get(8080).text == "unheard\n"
    eventually(stack.registrar.socket.exists, 5, "the socket is back")
    stack.dockerd.run_http("heard", "-p", "8081:80", name="heard")
    assert stack.get(8081).text == "heard\n"
    stack.dockerd.docker("rm", "-f", "unheard", "heard")


def test_a_registrar_that_stands_still_delays_docker_by_seconds_at_most(stack: Stack) -> None:
    stack.dockerd.run_http("old", "-p", "8080:80", name="old")
    stack.get(8080)
    os.kill(stack.registrar.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        stack.dockerd.run_http("new", "-p", "8081:80", name="new")
        assert time.monotonic() - began < 3
        began = time.monotonic()
        stack.dockerd.docker("rm", "-f", "old")
        # Two seconds for each of the two address families, and dockerd's own time.
        assert time.monotonic() - began < 6
    finally:
        os.kill(stack.registrar.pid, signal.SIGCONT)
    assert stack.get(8081).text == "new\n"
    eventually(lambda: {b["port"] for b in stack.registrar.bindings()} == {8081}, 5, "the old one is gone")
    stack.dockerd.docker("rm", "-f", "new")


def test_a_new_file_may_replace_the_one_whose_shims_are_parked(
    artifact: Path, engine: Engine, tmp_path: Path
) -> None:
    """They still release, a restarted registrar still finds them, and the next ones are the new file's."""
    installed, newer = tmp_path / "envoy-docker-shim", tmp_path / "new"
    for copy in (installed, newer):
        copy.write_bytes(artifact.read_bytes())
        copy.chmod(0o755)
    with Stack(installed, engine) as stack:
        stack.dockerd.run_http("old", "-p", "8080:80", name="old")
        stack.get(8080)
        newer.replace(installed)
        stack.registrar.end()
        stack.registrar.start()
        stack.binding(8080)
        stack.dockerd.docker("restart", "-t", "1", "old")
        assert stack.get(8080).text == "old\n"
        stack.dockerd.docker("rm", "-f", "old")
        eventually(lambda: not stack.registrar.bindings(), 5, "nothing is left")
