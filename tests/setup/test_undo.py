"""Undoing a change of dockerd's settings that was never begun, and reading dockerd's command line."""

from pathlib import Path

import pytest

from shim.core.setup.steps import SwitchDocker
from shim.setup.docker_api import DockerApi
from shim.setup.docker_switch import Switch
from shim.setup.look import flags_of


def test_what_was_not_begun_is_not_undone(tmp_path: Path) -> None:
    """An installation may be interrupted before it has read the file that it would put back."""
    file = tmp_path / "daemon.json"
    file.write_bytes(b'{"debug": true}')
    step = SwitchDocker(str(file), b"{}", "ours", restart=False, borrow=False, validate=False)
    Switch(step, DockerApi()).back()
    assert file.read_bytes() == b'{"debug": true}'


def test_what_was_done_is_undone(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_bytes(b'{"debug": true}')
    switch = Switch(
        SwitchDocker(str(file), b"{}", "ours", restart=False, borrow=False, validate=False), DockerApi()
    )
    switch.there()
    assert file.read_bytes() == b"{}"
    switch.back()
    assert file.read_bytes() == b'{"debug": true}'


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["/usr/bin/dockerd"], {}),
        ([""], {}),
        (["dockerd", "--debug"], {"debug": "true"}),
        (["dockerd", "-H", "fd://"], {"H": "fd://"}),
    ],
)
def test_any_command_line_is_read(words: list[str], flags: dict[str, str]) -> None:
    assert flags_of(words) == flags
