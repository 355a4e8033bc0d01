"""Whether a dockerd is there."""

import socket
from pathlib import Path

import pytest
import trio

from shim.registrar.dockerd import DockerdPresence, dockerd_runs


def test_one_that_listens_is_there_and_one_that_does_not_is_not(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    presence = DockerdPresence(str(path))
    assert not trio.run(presence.there)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert not trio.run(presence.there)  # a stale file
        listener.listen()
        assert trio.run(presence.there)
    assert not trio.run(presence.there)


def test_one_that_is_reached_by_tcp_is_simply_asked() -> None:
    assert trio.run(DockerdPresence("").there)


@pytest.mark.parametrize(
    ("stat", "runs"),
    [
        ("7 (dockerd) S 1 7", True),
        ("7 (dockerd) Z 1 7", False),
        ("7 (docker) S 1 7", False),
        ("7 (a) S (dockerd) S 1 7", False),
    ],
)
def test_its_process_is_known_by_its_name_and_being_alive(tmp_path: Path, stat: str, runs: bool) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(stat)
    (tmp_path / "8").mkdir()  # one that has just ended
    assert dockerd_runs(tmp_path) is runs
