"""Whose Envoy counts, with a real one of each kind of user."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.rig import NOBODY, Rig
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

# Of Envoy's own image, of a unit with DynamicUser=, and of a person.
CONTAINER, DYNAMIC, PERSON = 101, 64321, 1000
PORT = 8100


@pytest.mark.parametrize(
    ("user", "settings"),
    [
        (CONTAINER, {}),
        (DYNAMIC, {}),
        (PERSON, {"envoy_user": PERSON}),
        (NOBODY, {"envoy_user": "nobody"}),
    ],
    ids=["container", "dynamic", "number", "name"],
)
def test_a_port_is_released_when_this_envoy_lets_go(
    artifact: Path, user: int, settings: dict[str, Any]
) -> None:
    with Rig(artifact, settings, envoy_user=user) as rig:
        shim = rig.publish(PORT)
        rig.get(PORT)
        (binding,) = eventually(lambda: [b for b in rig.registrar.bindings() if b["state"] == "serving"])
        assert binding["acknowledged_by"] == [rig.node]
        (envoy,) = rig.status()["envoys"]
        assert (envoy["user"], envoy["trusted"]) == (user, True)
        os.kill(rig.envoy.pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            shim.stop()
            assert time.monotonic() - begun > 1.5
        finally:
            os.kill(rig.envoy.pid, signal.SIGCONT)


@pytest.mark.parametrize("settings", [{}, {"envoy_user": "root"}], ids=["auto", "another"])
def test_of_the_envoy_of_a_person_nobody_named_status_says_what_is_missing(
    artifact: Path, settings: dict[str, Any]
) -> None:
    """It is told what there is, but a port is not shared with it, and does not wait for it."""
    with Rig(artifact, settings, envoy_user=PERSON) as rig:
        with rig.publish(PORT) as shim:
            (binding,) = eventually(
                lambda: [b for b in rig.registrar.bindings() if b["state"] == "published"]
            )
            assert binding["acknowledged_by"] == []
            said = rig.registrar.command("status", "--config", str(rig.registrar.config), check=False)
            assert said.returncode == 1
            assert f"set envoy_user: {PERSON}" in said.stdout
            begun = time.monotonic()
            shim.stop()
            assert time.monotonic() - begun < 1
        assert f"user {PERSON} asks for Envoy's configuration" in rig.registrar.log.read_text()
