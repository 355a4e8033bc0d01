"""`up`, as root, in a directory that is somebody else's: nothing of what lies there is run."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.harness.engines import ROOT

TRAP = "#!/bin/sh\necho \"$(id -u) by $0\" >>'{}'\nexit 1\n"
MODULE = "import os\nwith open({!r}, 'a') as file: print(os.geteuid(), 'by', __file__, file=file)\n"
MODULES = ("envoy", "importlib", "socket", "encodings", "site", "sitecustomize", "usercustomize", "trio")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Full of traps, each of which leaves a line in `sprung`."""
    place = tmp_path / "tmp"
    (place / "bin").mkdir(parents=True)
    for name in ("envoy", "python3", "bin/envoy"):
        (place / name).write_text(TRAP.format(tmp_path / "sprung"))
        (place / name).chmod(0o755)
    for name in MODULES:
        # Beside a program of that name: a package's directory would be in its way.
        (place / f"{name}.py").write_text(MODULE.format(str(tmp_path / "sprung")))
    return place


def up(artifact: Path, directory: Path, *args: str, **env: str) -> str:
    """What it said until it ended, or was ended after a while."""
    config = directory.parent / "config.yaml"
    places = f"socket: {directory.parent}/r.sock\napi_address: unix:{directory.parent}/api.sock\n"
    config.write_text(f"{places}firewall: false\n")  # this machine's own is not to be touched
    cache = {"SHIV_ROOT": str(directory.parent / "cache")}
    process = subprocess.Popen(
        [artifact, "up", "--config", str(config), *args],
        cwd=directory,
        env={**os.environ, **cache, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=5)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


@pytest.mark.parametrize(
    "path",
    ["", ".", "bin", "relative/../bin", f"{os.environ['PATH']}:", f".:{os.environ['PATH']}"],
)
def test_no_program_and_no_module_of_the_working_directory_is_run(
    artifact: Path, directory: Path, path: str
) -> None:
    said = up(artifact, directory, PATH=f"{path}:/usr/bin:/bin")
    sprung = directory.parent / "sprung"
    assert not sprung.exists(), (sprung.read_text(), said)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONPATH": "."},
        {"PYTHONPATH": "{}"},
        {"PYTHONHOME": "{}"},
        {"PYTHONSTARTUP": "{}/envoy.py"},
        {"PYTHONUSERBASE": "{}"},
    ],
)
def test_no_variable_of_pythons_brings_it_there(
    artifact: Path, directory: Path, variables: dict[str, str]
) -> None:
    given = {name: value.format(directory) for name, value in variables.items()}
    said = up(artifact, directory, PATH="/usr/bin:/bin", **given)
    sprung = directory.parent / "sprung"
    assert not sprung.exists(), (sprung.read_text(), said)


def test_an_envoy_that_is_named_is_run_from_wherever_it_is_and_nothing_else(
    artifact: Path, directory: Path
) -> None:
    """`--envoy ./envoy` says it as plainly as can be."""
    up(artifact, directory, "--envoy", "./envoy", PATH=os.environ["PATH"])
    assert "by " + str(directory / "envoy") in (directory.parent / "sprung").read_text()
    assert ROOT.exists()
