"""Somebody says that he is the Envoy: he gets answers, and nothing waits for him or believes him."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.rig import NOBODY, Rig
from tests.harness.wait import eventually

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]


@pytest.fixture(scope="module")
def rig(artifact: Path) -> Iterator[Rig]:
    with Rig(artifact) as running:
        running.publish(8100)
        running.get(8100)
        yield running


def test_who_poses_as_the_envoy_delays_no_port(rig: Rig) -> None:
    with rig.attack("pose", 40, node={"id": rig.node}):
        served = []
        for port in range(8101, 8106):
            rig.publish(port)
            served.append(rig.get(port, 90))
        print(f"\nserved after {max(served):.2f} s at the worst")
        assert max(served) < 1


def test_who_poses_as_the_envoy_acknowledges_no_release(rig: Rig) -> None:
    """An Envoy that is stopped has let go of nothing: the release waits for as long as it ever does."""
    with rig.attack("pose", 40, node={"id": rig.node}):
        shim = rig.publish(8110)
        rig.get(8110, 90)
        os.kill(rig.envoy.pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            shim.stop()
            took = time.monotonic() - begun
        finally:
            os.kill(rig.envoy.pid, signal.SIGCONT)
        print(f"\nreleased after {took:.3f} s")
        assert 1.5 < took < 2.5


def test_others_are_shown_as_what_they_are(rig: Rig) -> None:
    with rig.attack("pose", 2, node={"id": rig.node}):
        envoys = eventually(lambda: len(found := rig.status()["envoys"]) == 2 and found)
        assert envoys
        by_user = {envoy["user"]: envoy for envoy in envoys}
        assert {envoy["node"] for envoy in envoys} == {rig.node}
        assert by_user[0]["trusted"] and not by_user[NOBODY]["trusted"]
        shown = [binding["acknowledged_by"] for binding in rig.status()["bindings"]]
        assert [rig.node] in shown and all(len(names) <= 1 for names in shown)
    eventually(lambda: len(rig.status()["envoys"]) == 1)
