"""Whether other users may have written a path, or can: asked before anything there is run.

The same rule stands in shim/artifact/zip_main.py, which has to run before anything can be imported.
"""

import os
import stat
from pathlib import Path

STICKY = 0o1000
OTHERS_WRITE = 0o022


def is_trusted(path: Path, user: int) -> bool:
    """Whether only root and ``user`` can write at ``path``, which has no symbolic links in it.

    What does not exist yet is judged by its parents.
    """
    itself = True
    for place in (path, *path.parents):
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            itself = False
            continue
        # In a sticky directory, such as /tmp, no other user can rename this user's files.
        shut = not found.st_mode & OTHERS_WRITE or bool(found.st_mode & STICKY and not itself)
        if stat.S_ISLNK(found.st_mode) or found.st_uid not in (0, user) or not shut:
            return False
        itself = False
    return True
