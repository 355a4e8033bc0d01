"""Which Pythons are here, and how the file is run with each of them as `python3`."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

OLDEST = (3, 10)


def find_pythons() -> dict[tuple[int, int], Path]:
    """Each minor version's interpreter: pyenv's and those on PATH, but no pyenv stand-in."""
    found: dict[tuple[int, int], Path] = {}
    candidates = sorted(Path.home().glob(".pyenv/versions/*/bin/python3"))
    for directory in os.environ["PATH"].split(":"):
        if not directory.endswith("/shims"):
            candidates += sorted(Path(directory).glob("python3.[0-9]*"))
    for path in candidates:
        if re.fullmatch(r"python3(\.\d+)?", path.name):
            with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
                ask = "import sys; print(*sys.version_info[:2])"
                said = subprocess.run([path, "-c", ask], check=True, capture_output=True, timeout=10).stdout
                major, minor = map(int, said.split())
                found.setdefault((major, minor), path)
    return found


PYTHONS = find_pythons()
NEW = {f"3.{minor}": path for (_, minor), path in sorted(PYTHONS.items()) if (3, minor) >= OLDEST}
OLD = {f"3.{minor}": path for (_, minor), path in sorted(PYTHONS.items()) if (3, minor) < OLDEST}
NEWEST = NEW[max(NEW, key=lambda name: int(name[2:]))] if NEW else Path("python3")


def with_python(env: dict[str, str], python: Path, *options: str) -> dict[str, str]:
    """``python3`` is that one, in the only directory of PATH so far; with ``options`` always with them."""
    place = Path(env["PATH"].split(":")[0], "python3")
    if options:
        place.write_text(f'#!/bin/sh\nexec {python} {" ".join(options)} "$@"\n')
        place.chmod(0o755)
    else:
        place.symlink_to(python)
    return {**env, "PATH": f"{env['PATH']}:/usr/bin:/bin"}
