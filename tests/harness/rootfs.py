"""The disk of a throw-away Debian host: a tree that mmdebstrap makes once, and each time a fresh top over it.

The base is Debian with systemd and Docker as `apt-get install docker.io` leaves it, and nothing of ours.  It
is kept in .build/machine under a name made of its recipe.  `python -m tests.harness.rootfs` makes it.
"""

import contextlib
import filecmp
import hashlib
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .engines import ROOT, Engine, Missing, missing
from .envoy import binary
from .netns import CommandError, run, tool_env

BUILD = ROOT / ".build" / "machine"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Debian 12, as its docker.io is the oldest engine that is supported, whatever Debian this machine has.
SUITE = "bookworm"
PACKAGES = (
    "systemd-sysv systemd-container dbus docker.io iptables nftables iproute2 procps python3 busybox-static"
)
OPTIONS = (
    "--mode=root",
    "--variant=minbase",
    f"--include={PACKAGES.replace(' ', ',')}",
    "--dpkgopt=force-unsafe-io",  # who loses power while it is made makes it again
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
)
# Nobody sits there, and nothing is to change it behind a test's back.
MASKED = (
    *("console-getty.service", "getty.target", "e2scrub_reap.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
)

# What a running host writes by itself.  Below /var/lib/docker is a disk of its own, which is not looked at.
VOLATILE = ("run", "tmp", "var/tmp", "var/log", "var/lib/systemd", "var/lib/containerd", "var/lib/docker")


def base() -> Path:
    """The base tree, made now if it is not there yet.  Raises Missing."""
    recipe = hashlib.sha256(repr((SUITE, OPTIONS, MASKED)).encode()).hexdigest()[:12]
    return made_once(BUILD / f"base-{recipe}", _make_base)


def layers(engine: Engine | None) -> list[Path]:
    """Trees to lay over each other, the topmost first: Envoy in /usr/local/bin, the engine, the base.

    An engine on this machine's PATH stands for the base's own, which is of the same age.
    """
    found = [made_once(BUILD / f"envoy-{binary().stat().st_mtime_ns}", _make_envoy), base()]
    if engine is not None and engine.name != "20.10":
        found.insert(1, engine.dockerd.parents[2])
    return found


class Disk:
    """A root file system in `directory`/root, made of layers that stay as they are and a top in memory."""

    def __init__(self, directory: Path, trees: Sequence[Path]) -> None:
        self.root, self._top = directory / "root", directory / "top"
        self._trees = trees
        for path in (self.root, self._top):
            path.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self._top], env=tool_env())
        for name in ("upper", "work", "docker"):
            (self._top / name).mkdir()
        lower = ":".join(map(str, trees))
        options = f"lowerdir={lower},upperdir={self._top / 'upper'},workdir={self._top / 'work'}"
        run(["mount", "-t", "overlay", "-o", options, "overlay", self.root], env=tool_env())

    @property
    def docker(self) -> Path:
        """For /var/lib/docker: Docker's layers cannot lie on an overlay."""
        return self._top / "docker"

    def files(self, ignore: Sequence[str] = VOLATILE) -> dict[str, str]:
        """Every path (without its first slash) with its type, mode, owner and content, as one text.

        What was written anew as it had been counts as untouched; times are left out.
        """
        found = {}
        for folder, folders, names in os.walk(self.root):
            at = os.path.relpath(folder, self.root)
            inside = "" if at == "." else f"{at}/"
            folders[:] = [name for name in folders if f"{inside}{name}" not in ignore]
            for name in (*folders, *names):
                found[f"{inside}{name}"] = self._describe(f"{inside}{name}")
        return found

    def _describe(self, path: str) -> str:
        at = self.root / path
        seen = at.lstat()
        text = f"{stat.filemode(seen.st_mode)} {seen.st_uid}:{seen.st_gid}"
        if stat.S_ISLNK(seen.st_mode):
            return f"{text} -> {os.readlink(at)}"
        if stat.S_ISREG(seen.st_mode) and not self._as_in_a_layer(path):
            return f"{text} {seen.st_size} bytes {hashlib.sha256(at.read_bytes()).hexdigest()[:16]}"
        return text

    def _as_in_a_layer(self, path: str) -> bool:
        """Whether a regular file's content is that of the layers below the top."""
        upper = self._top / "upper" / path
        if not os.path.lexists(upper):
            return True
        below = next((tree / path for tree in self._trees if os.path.lexists(tree / path)), None)
        return below is not None and below.is_file() and filecmp.cmp(upper, below, shallow=False)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What two results of Disk.files() differ in, a line each."""
    paths = sorted({*before, *after})
    return [
        f"/{path}: {before.get(path, 'nothing')} => {after.get(path, 'nothing')}"
        for path in paths
        if before.get(path) != after.get(path)
    ]


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made under another name and renamed: whoever looks sees all of it or nothing."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in _unfinished():
        shutil.rmtree(stale)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        make(partial)
        with contextlib.suppress(OSError):  # of two that made it at once the second gives way
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    # Others' are of another recipe.
    for old in target.parent.glob(f"{target.name.partition('-')[0]}-*"):
        if old != target and old.suffix != ".partial":
            shutil.rmtree(old, ignore_errors=True)
    return target


def _unfinished() -> Iterator[Path]:
    """What makers left that are dead."""
    for path in BUILD.glob("*.partial"):
        if not Path("/proc", path.suffixes[-2][1:]).exists():
            yield path


def _make_base(target: Path) -> None:
    if reasons := missing(machine=True):
        raise Missing("; ".join(reasons))
    mmdebstrap(target, OPTIONS)
    for unit in MASKED:
        (target / "etc/systemd/system" / unit).symlink_to("/dev/null")


def mmdebstrap(target: Path, options: Sequence[str]) -> None:
    """A tree of Debian's packages.  Raises Missing."""
    signed = f"[signed-by={KEYS}] " if KEYS.exists() else ""
    source = f"deb {signed}{_mirror()} {SUITE} main"
    try:
        run(["mmdebstrap", *options, SUITE, target, source], timeout=1200, env=tool_env())
    except CommandError as error:
        raise Missing(f"a tree of Debian's packages could not be made: {error}") from error


def _make_envoy(target: Path) -> None:
    folder = target / "usr/local/bin"
    folder.mkdir(parents=True)
    shutil.copy2(binary(), folder / "envoy")


def _mirror() -> str:
    """This machine's own Debian mirror, in either of apt's formats; the main one where it is no Debian."""
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")]
    for file in files:
        for line in file.read_text().splitlines() if file.exists() else []:
            if not line.lstrip().startswith("#") and (
                found := re.search(r"https?://\S+/debian/?(?=\s|$)", line)
            ):
                return found[0]
    return "http://deb.debian.org/debian"


if __name__ == "__main__":
    began = time.monotonic()
    try:
        made = layers(None)
    except Missing as problem:
        sys.exit(f"{problem}")
    print(f"{', '.join(map(str, made))} ({time.monotonic() - began:.1f} s)", file=sys.stderr)
