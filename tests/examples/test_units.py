"""The systemd units run what there is, where the defaults say, and systemd takes them."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from shim.commands.roles import ROLES
from shim.config.keys import Config
from tests.examples.documents import INSTALLED, UNITS

STRICT = UNITS.parent / "strict"


def settings_of(unit: str) -> list[tuple[str, str]]:
    lines = [line for line in (UNITS / unit).read_text().splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize("unit", ["envoy-docker-shim.service", "envoy.service"])
def test_what_a_unit_runs_is_a_command_of_ours_or_envoy(unit: str) -> None:
    commands = [
        shlex.split(value.lstrip("-"))
        for key, value in settings_of(unit)
        if re.match("Exec(Start|Reload|Stop)", key)
    ]
    assert commands
    for program, *arguments in commands:
        if program == "envoy":
            assert "/run/envoy/envoy.yaml" in arguments
        else:
            assert program == INSTALLED
            assert arguments[0] in ROLES


def test_the_registrars_unit_has_the_directories_that_the_defaults_name() -> None:
    unit = dict(settings_of("envoy-docker-shim.service"))
    assert Config().socket.startswith(f"/run/{unit['RuntimeDirectory']}/")
    assert unit["CacheDirectory"] == "envoy-docker-shim"
    assert (unit["Type"], unit["Before"]) == ("notify", "docker.service")
    assert "PartOf" not in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """In a directory that stands for a host where everything is installed."""
    system = tmp_path / "etc/systemd/system"
    shutil.copytree(UNITS, system)
    shutil.copytree(STRICT, system, dirs_exist_ok=True)
    binaries = tmp_path / "usr/local/bin"
    binaries.mkdir(parents=True)
    for name in ("envoy", "envoy-docker-shim", "dockerd", "nft"):
        shutil.copy("/bin/true", binaries / name)
    (system / "docker.service").write_text("[Unit]\nDescription=Docker\n[Service]\nExecStart=dockerd\n")
    for target in ("sysinit", "basic", "shutdown", "network", "multi-user"):
        (system / f"{target}.target").write_text("[Unit]\nDescription=stub\nDefaultDependencies=no\n")
    units = [path.name for path in system.glob("*.service")]
    assert len(units) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", *units],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
