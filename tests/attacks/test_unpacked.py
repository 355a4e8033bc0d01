"""What root unpacks, and then runs, where others could have put something else."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.places import NOBODY
from tests.conftest import cannot

TRAP = "import os\nwith open({!r}, 'a') as file: print(os.geteuid(), file=file)\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        cannot("not root")
    yield tmp_path / "cache"


def version(artifact: Path, cache: Path, **more: str) -> str:
    env = {**os.environ, "SHIV_ROOT": str(cache), **more}
    done = subprocess.run([artifact, "version"], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("envoy-docker-shim "), done
    return done.stdout


def lay_traps(cache: Path) -> Path:
    """In every module that is unpacked there; returns the file that says which user ran one."""
    sprung = cache.parent / "sprung"
    for path in cache.rglob("shim/**/*.py"):
        path.write_text(TRAP.format(str(sprung)) + path.read_text().replace("from __future__", "# "))
    return sprung


def give(path: Path, user: int) -> None:
    for folder, _, files in os.walk(path):
        for name in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(name, user, user)


def test_what_a_user_of_the_cache_left_there_is_not_run(artifact: Path, place: Path) -> None:
    """A registrar with `User=` has unpacked it; root asks for the status."""
    version(artifact, place)
    sprung = lay_traps(place)
    give(place, NOBODY)
    version(artifact, place)
    assert not sprung.exists()


@pytest.mark.parametrize("writable", ["", "parent", "version", "site-packages"])
def test_nor_what_others_could_have_written(artifact: Path, place: Path, writable: str) -> None:
    version(artifact, place)
    (unpacked,) = [path for path in place.iterdir() if path.is_dir()]
    sprung = lay_traps(place)
    open_to_all = {
        "": place,
        "parent": place.parent,
        "version": unpacked,
        "site-packages": unpacked / "site-packages",
    }[writable]
    open_to_all.chmod(0o777)
    version(artifact, place)
    assert not sprung.exists()


def test_no_file_of_roots_is_overwritten_by_way_of_a_users_cache(artifact: Path, place: Path) -> None:
    place.mkdir()
    give(place, NOBODY)
    before = sorted(path.name for path in place.parent.iterdir())
    version(artifact, place)
    assert list(place.iterdir()) == []
    assert sorted(path.name for path in place.parent.iterdir()) in (before, [*before, "cache-0"])


def test_roots_own_cache_is_used(artifact: Path, place: Path) -> None:
    version(artifact, place)
    sprung = lay_traps(place)
    version(artifact, place)
    assert set(sprung.read_text().split()) == {"0"}


def test_what_is_unpacked_is_nobody_elses_to_write_whatever_the_umask(artifact: Path, place: Path) -> None:
    env = {**os.environ, "SHIV_ROOT": str(place)}
    command = f'umask 0; exec "{artifact}" version'
    subprocess.run(["sh", "-c", command], env=env, check=True, capture_output=True)
    assert not [path for path in place.rglob("*") if path.stat().st_mode & 0o022]
    assert list(place.rglob("shim/__main__.py"))
