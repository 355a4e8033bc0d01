"""The main job, on both engines."""

from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.stack import Stack

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


def test_a_container_is_served_by_envoy(artifact: Path, engine: Engine) -> None:
    with Stack(artifact, engine) as stack:
        stack.dockerd.run_http(
            "hello", "-p", "8080:80", labels={"ServiceName": "web", "EnvironmentName": "dev"}
        )
        assert stack.get(8080).text == "hello\n"
        assert stack.get(8080, "::1").text == "hello\n"
        assert stack.binding(8080)["cluster"] == "web-dev-8080"
