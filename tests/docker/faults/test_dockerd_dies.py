"""dockerd is killed, and comes back."""

from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.load import Client
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def test_with_live_restore_ports_answer_while_dockerd_is_away(artifact: Path, engine: Engine) -> None:
    """... and are let go in time for the dockerd that returns to bind them."""
    with Stack(artifact, engine, "--live-restore") as stack:
        stack.dockerd.run_http("lives", "-p", "8080:80", labels={"ServiceName": "web"})
        stack.get(8080)
        client = Client(stack.host, 8080)
        try:
            client.asked("before", 20)
            stack.dockerd.kill()
            eventually(lambda: [b["orphan"] for b in stack.registrar.bindings()] == [True] * 2, 5, "orphans")
            client.asked("away", 200)
            client.phase = "returning"
            stack.dockerd.start()
            eventually(lambda: not any(b["orphan"] for b in stack.registrar.bindings()), 20, "successors")
            stack.binding(8080)
            stack.get(8080)
            client.asked("after", 50)
        finally:
            client.end()
        assert set(client.counts["before"]) == set(client.counts["away"]) == {"200"}, client.counts
        assert set(client.counts["after"]) == {"200"}, client.counts
        assert len(stack.registrar.bindings()) == len(stack.dockerd.proxies()) == 2


def test_without_live_restore_nothing_is_left_of_what_died(artifact: Path, engine: Engine) -> None:
    with Stack(artifact, engine) as stack:
        stack.dockerd.run_http("gone", "-p", "8080:80")
        stack.dockerd.run_http("back", "-p", "8081:80", "--restart=always")
        stack.get(8080)
        stack.get(8081)
        stack.dockerd.kill()
        stack.dockerd.start()
        assert stack.get(8081).text == "back\n"
        eventually(
            lambda: [b["port"] for b in stack.registrar.bindings()] == [8081, 8081], 10, "only one is left"
        )
        stack.dockerd.run_http("new", "-p", "8080:80")
        assert stack.get(8080).text == "new\n"
