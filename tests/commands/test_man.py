"""The manual page and each command's help: complete, and as manual pages have to be."""

import os
import re
import subprocess
from pathlib import Path

from tests.harness.registrar import SHIV_ROOT

ENV = {**os.environ, "SHIV_ROOT": str(SHIV_ROOT)}


def said(artifact: Path, *args: str) -> str:
    return subprocess.run([artifact, *args], check=True, capture_output=True, text=True, env=ENV).stdout


def commands(artifact: Path) -> list[str]:
    return re.findall(r"^  ([a-z]+) ", said(artifact, "--help"), re.MULTILINE)


def test_mandoc_finds_nothing_wrong_with_the_manual_page(artifact: Path) -> None:
    """But that it has no date: two builds of one version give the same bytes."""
    lint = ["mandoc", "-T", "lint", "-W", "warning"]
    page = said(artifact, "man")
    found = subprocess.run(lint, check=False, capture_output=True, text=True, input=page).stdout
    assert [line for line in found.splitlines() if "missing date" not in line] == []


def test_the_manual_page_shows_every_command_option_and_example(artifact: Path) -> None:
    plain = ["mandoc", "-T", "ascii", "-O", "width=200"]
    page = said(artifact, "man")
    shown = subprocess.run(plain, check=True, capture_output=True, text=True, input=page).stdout
    shown = re.sub(".\b", "", shown)  # bold letters are typed twice
    assert len(commands(artifact)) > 7
    for command in commands(artifact):
        assert re.search(rf"^   {command}$", shown, re.MULTILINE), command
        described, _, examples = said(artifact, command, "--help").partition("\nexamples:\n")
        for option in re.findall(r"--[a-z-]+", described):
            assert option in shown
        assert examples
        for line in examples.splitlines():
            assert line.strip() in shown
            assert line.strip().startswith("envoy-docker-shim ")
