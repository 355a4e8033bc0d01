"""The start-up path as a registrar has compiled it for this Python: read, if nobody else can have written it.

Only where the shipped file has no byte code for this Python, and copied into its head as shim.proxy.start is.
"""

import marshal
import posix

from shim.wire.kept import CACHE, CACHE_VARIABLE

OTHERS_WRITE = 0o022
STICKY = 0o1000
FILE_TYPE, REGULAR = 0o170000, 0o100000


def kept_code(name: str) -> "object | None":
    """The code that is kept under this name, or None: there is none, or another user can have written it."""
    try:
        directory = posix.environ.get(CACHE_VARIABLE.encode(), CACHE.encode())
        # Not to be held up by a FIFO, nor to follow a link.
        fd = posix.open(
            directory + b"/" + name.encode(),
            posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC,
        )
        with open(fd, "rb") as file:
            found = posix.fstat(fd)
            if found.st_mode & FILE_TYPE != REGULAR or not _is_ours(found, 0):
                return None
            # From the root downwards; a link among them is open to all, by its mode.
            parts = directory.split(b"/")
            for count in range(len(parts)):
                sticky = STICKY if count + 1 < len(parts) else 0
                if not _is_ours(posix.lstat(b"/".join(parts[: count + 1]) or b"/"), sticky):
                    return None
            code: object = marshal.load(file)
            return code
    except (OSError, EOFError, ValueError, TypeError):
        return None


def _is_ours(found: "posix.stat_result", sticky: int) -> bool:
    """Whether only root and this user can write there; ``sticky``: or in a directory where names stay."""
    if found.st_mode & OTHERS_WRITE and not found.st_mode & sticky:
        return False
    return found.st_uid in (0, posix.geteuid())
