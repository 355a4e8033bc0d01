"""Undoing a change of dockerd's settings, begun or not."""

from pathlib import Path

from shim.core.setup.steps import SwitchDocker
from shim.setup.docker_api import DockerApi
from shim.setup.docker_switch import Switch


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
