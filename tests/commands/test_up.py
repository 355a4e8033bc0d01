"""``up``: the registrar and an Envoy as one pair."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.harness import envoy
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy


def envoys_of(pid: int) -> list[int]:
    """The processes that ``pid`` has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def connected(registrar: LoopbackRegistrar) -> bool:
    return len(json.loads(registrar.read("/status").text)["envoys"]) == 1


def test_an_envoy_that_dies_is_started_again_and_both_end_together(artifact: Path, tmp_path: Path) -> None:
    registrar = LoopbackRegistrar(artifact, tmp_path)
    with registrar.running("up", "--envoy", str(envoy.binary()), "--concurrency", "1") as pair:
        registrar.wait_until_healthy()
        eventually(lambda: connected(registrar), 20, "Envoy polls")
        (first,) = envoys_of(pair.pid)
        # Envoy ends with the thread that has started it: only the first lives as long as the process.
        assert str(first) in Path(f"/proc/{pair.pid}/task/{pair.pid}/children").read_text().split()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: [first] != envoys_of(pair.pid) != [], 10, "another Envoy runs")
        eventually(lambda: connected(registrar), 20, "and polls")
        (second,) = envoys_of(pair.pid)
        pair.terminate()
        assert pair.wait(20) == 0
    assert not Path(f"/proc/{second}").exists()


def test_without_an_envoy_it_says_where_it_looked(artifact: Path, tmp_path: Path) -> None:
    refused = LoopbackRegistrar(artifact, tmp_path).command("up", "--envoy", "/no/such/envoy", check=False)
    assert refused.returncode == 1
    assert "--envoy /no/such/envoy: no such program" in refused.stderr
