"""Files that come whole: by rename, with the directories to them; the old one is kept for a while."""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from shim.core.setup.facts import FileState
from shim.setup.tools import SetupError

NEW, OLD = ".new", ".old"  # both hidden: `.NAME.new`


def write(path: str, state: FileState) -> None:
    """Its content, mode and owner, at once or not at all.  Raises SetupError."""
    new = _beside(path, NEW)
    try:
        with open(new, "wb", opener=_private) as file:
            file.write(state.content)
            os.fchown(file.fileno(), state.uid, state.gid)
            os.fchmod(file.fileno(), state.mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror}") from None


def copy(path: str, source: str, mode: int) -> None:
    """A copy of another file, which may be large.  Raises SetupError."""
    new = _beside(path, NEW)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        with open(source, "rb") as reader, open(new, "xb", opener=_private) as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            os.fchmod(writer.fileno(), mode)
            writer.flush()
            os.fsync(writer.fileno())
        os.replace(new, path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror}") from None


def directories_to(path: str) -> list[str]:
    """Make them; returns those that were not there, the outermost first.  Raises SetupError."""
    missing: list[str] = []
    for folder in Path(path).parents:
        if folder.exists():
            break
        missing.insert(0, str(folder))
    try:
        for name in missing:
            os.mkdir(name, 0o755)
            os.chmod(name, 0o755)
    except OSError as error:
        raise SetupError(f"{path}: its directory cannot be made: {error.strerror}") from None
    return missing


def keep(path: str) -> bool:
    """Keep what is there now under a second name; whether there is anything.  Raises SetupError."""
    forget(path)
    try:
        os.link(path, _beside(path, OLD))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SetupError(f"{path} cannot be kept under a second name: {error.strerror}") from None
    return True


def put_back(path: str) -> None:
    """What was kept is there again, or nothing if nothing was."""
    try:
        os.replace(_beside(path, OLD), path)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def forget(path: str) -> None:
    """Drop what was kept.  Raises SetupError."""
    try:
        os.unlink(_beside(path, OLD))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SetupError(f"{_beside(path, OLD)} cannot be removed: {error.strerror}") from None


def remove(path: str) -> None:
    """A file, if it is there.  Raises SetupError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SetupError(f"{path} cannot be removed: {error.strerror}") from None


def remove_directory(path: str) -> None:
    """A directory, if it is there and empty."""
    with contextlib.suppress(OSError):
        os.rmdir(path)


def remove_tree(path: str) -> None:
    """A directory with all that is in it."""
    if os.path.isdir(path) and not stat.S_ISLNK(os.lstat(path).st_mode):
        shutil.rmtree(path, ignore_errors=True)


def _beside(path: str, ending: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{name}{ending}"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
