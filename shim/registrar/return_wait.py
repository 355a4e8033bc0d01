"""Whether shims wait for a registrar that is away: not while the file is there that one left who did in vain.

A shim that is told to end while no registrar reads waits for one to come back, RETURN_WAIT long.  Of a
registrar that is down for good only the first shim is to wait: the file tells the others (shim.proxy.park).
"""

import contextlib
import os

from shim.wire.words import AWAY_SUFFIX


class ReturnWait:
    """Nothing, until ``begin`` names the registration socket that the file is beside."""

    def __init__(self) -> None:
        self._file: str | None = None

    def begin(self, socket_path: str) -> None:
        """A registrar is there: should it go, it is to be waited for."""
        self._file = socket_path + AWAY_SUFFIX
        self.renew()

    def renew(self) -> None:
        """After the end of a shim, too: it may have given up in the moment in which the registrar came."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._file)
