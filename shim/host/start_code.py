"""Compiles the shipped file's start-up path for the Python of this host, for shim.proxy.kept_code to read.

The registrar does it at its start: it is root, has time, and runs on the Python that dockerd finds too.
"""

import marshal
import os
import re
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from shim.host.trusted_paths import is_trusted
from shim.wire.kept import CACHE, CACHE_VARIABLE, PREFIX, kept_name

# Where the text is, its length, its checksum, and the magic number of the Python that built the file.
PLACE = re.compile(rb"^# start-up path: (\d+) (\d+) ([0-9a-f]+) ([0-9a-f]+)$", re.MULTILINE)
FRONT = 1024  # bytes, in which that line is
MODE = 0o644


def keep_start_code(file: str) -> Path | None:
    """Where the start-up path of this file is kept now; None: it need not be, or this is no such file.

    Raises OSError.
    """
    if os.geteuid() and not os.environ.get(CACHE_VARIABLE):
        return None  # root's shims would not take it
    directory = Path(os.path.realpath(os.environ.get(CACHE_VARIABLE) or CACHE))
    with open(file, "rb") as content:
        place = PLACE.search(content.read(FRONT))
        if place is None or place[4].decode() == MAGIC_NUMBER.hex():
            return None
        content.seek(int(place[1]))
        text = content.read(int(place[2]))
    checksum = place[3].decode()
    kept = directory / kept_name(checksum, MAGIC_NUMBER.hex())
    if kept.exists():
        return kept
    directory.mkdir(parents=True, exist_ok=True)
    if not is_trusted(directory, os.geteuid()):
        raise PermissionError(f"{directory}: another user may write there")
    partial = directory / f".{kept.name}.{os.getpid()}"
    code = marshal.dumps(compile(text, "envoy-docker-shim", "exec"))
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as output:
            output.write(code)
            os.fchmod(output.fileno(), MODE)
            output.flush()
            os.fsync(output.fileno())  # a power cut must not leave the name without the content
        os.rename(partial, kept)
    finally:
        partial.unlink(missing_ok=True)
    for old in directory.glob(f"{PREFIX}*"):
        if not old.name.startswith(kept_name(checksum, "")):
            old.unlink(missing_ok=True)
    return kept
