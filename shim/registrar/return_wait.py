"""Removes the file that keeps shims from waiting for a registrar that is away.

A shim that is told to end while no registrar runs waits RETURN_WAIT for one to start.  If none does, the shim
leaves the file, and the next shims end at once (shim.proxy.park).
"""

import contextlib
import os

from shim.wire.words import AWAY_SUFFIX


class ReturnWait:
    """The file beside the registration socket; ``renew`` does nothing before ``begin``."""

    def __init__(self) -> None:
        self.gave_up = False  # a shim has waited in vain before this registrar began
        self._file: str | None = None

    def begin(self, socket_path: str) -> None:
        """Remove the file: from now on shims wait for this registrar, should it go."""
        self._file = socket_path + AWAY_SUFFIX
        self.gave_up = os.path.exists(self._file)
        self.renew()

    def renew(self) -> None:
        """Remove it again, after a shim's end: that shim may have given up as the registrar started."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._file)
