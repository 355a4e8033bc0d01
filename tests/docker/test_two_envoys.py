"""Two Envoys ask one registrar, and one of them is not set up for long polls."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.engines import Engine
from tests.harness.envoy import Envoy
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def without_long_polls(bootstrap: dict[str, Any]) -> dict[str, Any]:
    """Another node's bootstrap, with Envoy's default request_timeout of a second."""
    other = copy.deepcopy(bootstrap)
    other["node"]["id"] = "second"
    other["admin"]["address"]["socket_address"]["port_value"] = 9902
    other["node"]["metadata"]["envoy-docker-shim"]["admin"] = "127.0.0.1:9902"
    for source in other["dynamic_resources"].values():
        source["api_config_source"]["refresh_delay"] = "0.2s"
        del source["api_config_source"]["request_timeout"]
    return other


def figures_are_those_of_both(stack: Stack, other: Envoy) -> None:
    """Both listen on the port, and the kernel gives each its share of the connections."""
    for _ in range(20):
        assert stack.host.http_get("http://127.0.0.1:8080/").status == 200
    name = "http.a1-8080.downstream_rq_total"
    counted = [envoy.stats(name)[name] for envoy in (stack.envoy, other)]
    assert min(counted) > 0

    def total() -> int:
        (row,) = json.loads(stack.registrar.read("/services").text)["services"]
        return int(row["total"]["requests"])

    eventually(lambda: total() == sum(counted), 10, f"the requests of {counted}")


def test_each_is_tracked_apart_and_both_let_go(artifact: Path, engine: Engine) -> None:
    with Stack(artifact, engine) as stack:
        other = stack.another_envoy("second", without_long_polls(stack.bootstrap))

        def acknowledged() -> set[str]:
            return {node for binding in stack.registrar.bindings() for node in binding["acknowledged_by"]}

        first = stack.bootstrap["node"]["id"]
        with other:
            stack.dockerd.run_http("a", "-p", "8080:80", name="a1")
            eventually(lambda: acknowledged() == {first, "second"}, 10, "both have it")
            # It gives up once, and is then answered before it would.
            failures = "listener_manager.lds.update_failure"
            seen = other.stats(failures)[failures]
            other.wait_for(
                lambda: other.stats("lds.update_attempt")["listener_manager.lds.update_attempt"] > 8
            )
            assert other.stats(failures)[failures] <= max(seen, 1)
            stack.dockerd.docker("restart", "-t", "0", "a1")
            eventually(lambda: acknowledged() == {first, "second"}, 10, "both have it again")
            assert stack.get(8080).text == "a\n"
            figures_are_those_of_both(stack, other)
        eventually(lambda: acknowledged() == {first}, 5, "the second is gone")
        status = json.loads(stack.registrar.read("/status").text)
        assert [envoy["node"] for envoy in status["envoys"]] == [first]
