"""A log file that is cut, moved and made anew while it is read."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shim.host import log_file
from shim.host.log_file import LogFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_bytes(b"a\nb\nhalf of a li")
    return path


@pytest.fixture
def log(file: Path) -> Iterator[LogFile]:
    """Read to its end."""
    with closing(LogFile(str(file))) as log:
        assert list(log.last()) == [b"a", b"b"]
        yield log


def test_half_a_line_waits_for_its_rest(file: Path, log: LogFile) -> None:
    with file.open("ab", buffering=0) as more:
        more.write(b"ne\nnext")
        assert list(log.new()) == [b"half of a line"]
        assert list(log.new()) == []


def test_what_comes_to_a_moved_file_and_to_the_new_one_is_all_there(file: Path, log: LogFile) -> None:
    moved = file.rename(file.with_suffix(".1"))
    with moved.open("ab", buffering=0) as old:
        old.write(b"ne\n")
        assert list(log.new()) == [b"half of a line"]  # there is no new one yet
        file.write_bytes(b"c\n")
        old.write(b"d\n")
        assert list(log.new()) == [b"d", b"c"]
        old.write(b"e\n")  # Envoy has not been told yet
        assert list(log.new()) == [b"e"]
    file.rename(file.with_suffix(".2"))
    file.write_bytes(b"f\n")
    assert list(log.new()) == [b"f"]


def test_a_file_that_was_cut_is_read_from_its_beginning(file: Path, log: LogFile) -> None:
    file.write_bytes(b"z\n")
    assert list(log.new()) == [b"z"]


def test_of_a_large_file_the_last_whole_lines_are_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "TAIL", 15)
    with closing(LogFile(str(file))) as log:
        assert list(log.last()) == [b"b"]
