"""Programs of Debian's own packages, unpacked beside the machine's and not installed.

tree = unpacked("nginx", "haproxy")
subprocess.Popen([tree / "usr/sbin/nginx", ...], env=environment(tree))

The trees are kept in .build/debian, each under the names of its packages.  What a package needs and the
machine has is taken from the machine.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from .engines import ROOT, Missing, which
from .netns import CommandError, run, tool_env

BUILD = ROOT / ".build" / "debian"


def unpacked(*packages: str) -> Path:
    """A tree with these packages, and with what they need and the machine does not have.  Raises Missing."""
    tree = BUILD / "+".join(sorted(packages))
    if not tree.exists():
        if os.geteuid() or which("apt-get") is None:
            raise Missing(f"{', '.join(packages)} can only be fetched as root on Debian")
        try:
            _make(tree, packages)
        except CommandError as error:
            raise Missing(f"{', '.join(packages)} could not be fetched: {error}") from error
    return tree


def environment(tree: Path) -> dict[str, str]:
    """In which the tree's programs find the tree's libraries."""
    folders = {str(library.parent) for library in tree.glob("**/*.so*")}
    return {**tool_env(), "LD_LIBRARY_PATH": ":".join(sorted(folders))}


def _make(tree: Path, packages: tuple[str, ...]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as work:
        debs, made = Path(work, "debs"), Path(work, "tree")
        debs.mkdir()
        try:
            _fetch(debs, packages)
        except CommandError:  # no lists, as in a fresh image, or old ones
            run(["apt-get", "-qq", "update"], env=tool_env(), timeout=300)
            _fetch(debs, packages)
        for deb in sorted(debs.iterdir()):
            run(["dpkg-deb", "--extract", deb, made], env=tool_env())
        # In one step: of two that made it at once the second gives way.
        try:
            made.rename(tree)
        except OSError:
            shutil.rmtree(made)


def _fetch(debs: Path, packages: tuple[str, ...]) -> None:
    plan = run(["apt-get", "--simulate", "--no-install-recommends", "install", *packages], env=tool_env())
    needed = sorted({*packages, *re.findall(r"^Inst (\S+)", plan, re.MULTILINE)})
    fetch = 'cd "$0" && exec apt-get -qq -o APT::Sandbox::User=root download "$@"'
    run(["sh", "-c", fetch, debs, *needed], env=tool_env(), timeout=300)
