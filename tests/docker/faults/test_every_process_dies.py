"""kill -9 of each part while a client asks without pause."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shim.wire.words import PORT_FD
from tests.harness.engines import Engine
from tests.harness.load import Client
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

NOBODY = 65534
UPDATES = (
    "listener_manager.listener_(added|modified|removed)|cluster_manager.cluster_(added|modified|removed)"
)


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as stack:
        yield stack


def test_the_registrar_may_die_three_times_and_no_request_fails(stack: Stack) -> None:
    """... and Envoy changes nothing; after each restart bindings are all there, and come and go as ever."""
    stack.dockerd.run_http("stays", "-p", "8080:80", name="stays")
    stack.get(8080)
    stack.binding(8080)
    before = stack.envoy.stats(UPDATES)
    with Client(stack.host, 8080) as client:
        for round in range(3):
            stack.registrar.end(signal.SIGKILL)
            client.asked(f"away {round}", 50)
            stack.registrar.start()
            stack.binding(8080)
            client.asked(f"back {round}", 50)
        assert stack.envoy.stats(UPDATES) == before
        stack.dockerd.run_http("new", "-p", "8081:80", name="new")
        assert stack.get(8081).text == "new\n"
        stack.dockerd.docker("rm", "-f", "new")
        eventually(
            lambda: {b["port"] for b in stack.registrar.bindings()} == {8080}, 5, "the new one is gone"
        )
        client.end()
    assert {outcome for counts in client.counts.values() for outcome in counts} == {"200"}, client.counts
    stack.dockerd.docker("rm", "-f", "stays")


def test_a_shim_that_is_killed_takes_its_binding_along_and_no_other(stack: Stack) -> None:
    stack.dockerd.run_http("a", "-p", "127.0.0.1:8080:80", "-p", "127.0.0.1:8081:80", name="two")
    stack.get(8080)
    stack.get(8081)
    (victim,) = [b["pid"] for b in stack.registrar.bindings() if b["port"] == 8080]
    with Client(stack.host, 8081) as client:
        os.kill(victim, signal.SIGKILL)
        eventually(
            lambda: [b["port"] for b in stack.registrar.bindings()] == [8081], 1, "its binding is gone"
        )

        def refused() -> bool:
            try:
                stack.host.connect("127.0.0.1", 8080).close()
            except ConnectionRefusedError:
                return True
            return False

        eventually(refused, 1, "its port is refused")
        client.asked("after", 50)
        client.end()
    assert {outcome for counts in client.counts.values() for outcome in counts} == {"200"}, client.counts
    stack.dockerd.docker("rm", "-f", "two")


def test_an_envoy_that_returns_serves_again_by_itself(stack: Stack) -> None:
    stack.dockerd.run_http("a", "-p", "8080:80", name="a1")
    stack.get(8080)
    stack.envoy.kill()
    eventually(lambda: stack.registrar.bindings()[0]["state"] == "published", 5, "nobody serves it")
    stack.envoy.start()
    assert eventually(lambda: stack.host.http_get("http://127.0.0.1:8080/").status == 200, 1, "served")
    stack.dockerd.docker("rm", "-f", "a1")


def test_a_listener_that_envoy_rejects_hurts_no_other_and_recovers(stack: Stack) -> None:
    """... and says Envoy's reason in `status`."""
    # Nobody can come between a shim and Envoy; but the port may be another user's than Envoy is.
    stack.envoy.kill()
    stack.dockerd.run_http("held", "-p", "127.0.0.1:8080:80", name="held")
    stack.dockerd.run_http("free", "-p", "127.0.0.1:8081:80", name="free")
    (shim,) = [binding["pid"] for binding in stack.registrar.bindings() if binding["port"] == 8080]
    port = f"/proc/{shim}/fd/{PORT_FD}"
    os.chown(port, NOBODY, -1)
    with ExitStack() as until:
        until.callback(os.chown, port, os.geteuid(), -1)
        stack.envoy.start()
        assert stack.get(8081).text == "free\n"
        rejected = stack.binding(8080, "rejected")
        assert "Address already in use" in next(iter(rejected["rejected_by"].values()))
        shown = stack.registrar.command("status", check=False)
        assert shown.returncode == 1
        assert "! tcp/127.0.0.1:8080 is rejected by Envoy" in shown.stdout
        assert stack.binding(8081)["state"] == "serving"
    assert stack.get(8080).text == "held\n"
    stack.binding(8080)
    stack.dockerd.docker("rm", "-f", "held", "free")
