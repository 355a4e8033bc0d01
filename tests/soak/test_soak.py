"""A short soak on both engines at once; `./build.sh soak` is the same for as long as one likes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.engines import ENGINES, ROOT, find_engine

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]

MINUTES = 1.3
SEED = 32  # one whose first seven faults are the seven there are
# Two soaks share the machine with each other: what takes a second on one of its own takes longer.
PROMISE = 3.0
# Below these a soak has shown nothing.
LEAST_EVENTS = {
    "container: restart": 3,
    "container: stop": 2,
    "container: start": 3,
    "container: remove": 2,
    "container: recreate": 3,
    "container: kill": 1,
    "container: crash": 1,
    "container: run": 2,
    "fault: registrar_killed": 1,
    "fault: registrar_terminated": 1,
    "fault: registrar_frozen": 1,
    "fault: envoy_killed": 1,
    "fault: dockerd_killed": 1,
    "fault: dockerd_restarted": 1,
    "fault: shim_killed": 1,
}
LEAST_ANSWERS = {"http": 500, "tcp": 100, "udp": 50}
LEAST_ANSWERS_WITHOUT_REGISTRAR = 50


@pytest.fixture(scope="module")
def reports(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, Any]]:
    """Exit status, output and figures by engine."""
    folder = tmp_path_factory.mktemp("soak")
    running = {name: start(name, artifact, folder) for name in ENGINES if find_engine(name)}
    found = {}
    try:
        for name, process in running.items():
            output, _ = process.communicate(timeout=240)
            figures = folder / f"{name}.json"
            found[name] = (
                process.returncode,
                output,
                json.loads(figures.read_text()) if figures.exists() else {},
            )
    finally:
        for process in running.values():
            process.terminate()
            process.wait(30)
    return found


def start(engine: str, artifact: Path, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.soak", "--engine", engine, "--minutes", str(MINUTES)]
    options = [
        "--seed",
        str(SEED),
        "--promise",
        str(PROMISE),
        "--artifact",
        str(artifact),
        "--json",
        str(folder / f"{engine}.json"),
    ]
    return subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("engine_name", ENGINES)
def test_nothing_unexpected_happens_in_a_soak(
    reports: dict[str, tuple[int, str, Any]], engine_name: str
) -> None:
    status, output, _ = reports[engine_name]
    assert status == 0, output


@pytest.mark.parametrize("engine_name", ENGINES)
def test_the_soak_has_tried_everything(reports: dict[str, tuple[int, str, Any]], engine_name: str) -> None:
    _, output, figures = reports[engine_name]
    assert figures, output
    assert not too_few(figures["events"], LEAST_EVENTS), figures["events"]
    right = figures["answers"]["right"]
    assert not too_few(right, LEAST_ANSWERS), right
    away = figures["answers"]["right, by what was away"]
    assert away.get("the registrar is away", 0) >= LEAST_ANSWERS_WITHOUT_REGISTRAR, away
    assert figures["bindings at the end"] > 30


def too_few(seen: dict[str, int], least: dict[str, int]) -> list[str]:
    return [name for name, number in least.items() if seen.get(name, 0) < number]
