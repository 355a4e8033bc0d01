"""The relay's side of a shim's line to its registrar (see shim.proxy.start)."""

import os
import stat

import trio

from shim.proxy.start import LEASE_FD, WAKE_FD


class Line:
    """The two pipes that the start-up left on their descriptors, if this is such a process."""

    def __init__(self) -> None:
        self._there = all(_is_pipe(fd) for fd in (LEASE_FD, WAKE_FD))

    def orphaned(self) -> bool:
        """dockerd has died.  Whether a registrar took note, and will say when to end."""
        if not self._there:
            return False
        try:
            os.write(LEASE_FD, b"orphan\n")
        except OSError:
            return False
        return True

    async def told_to_exit(self) -> None:
        """Return when the registrar says so."""
        if not self._there:
            await trio.sleep_forever()
        os.set_blocking(WAKE_FD, False)
        text = b""
        while b"exit\n" not in text:
            await trio.lowlevel.wait_readable(WAKE_FD)
            text = text[-8:] + os.read(WAKE_FD, 4096)


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
