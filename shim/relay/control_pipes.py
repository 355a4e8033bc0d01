"""The relay's side of a shim's control pipes (shim.wire.words)."""

import os
import stat

from shim.wire.words import EXIT, LEASE_FD, ORPHAN, PARKING, WAKE_FD


class ControlPipes:
    """The two pipes that the start-up left on their descriptors, if this is such a process."""

    def __init__(self) -> None:
        self.there = all(_is_pipe(fd) for fd in (LEASE_FD, WAKE_FD))

    def orphaned(self) -> bool:
        """dockerd has died.  Whether a registrar took note, and will say when to end."""
        if not self.there:
            return False
        try:
            os.write(LEASE_FD, f"{ORPHAN}\n".encode())
        except OSError:
            return False
        return True

    def can_park(self) -> bool:
        """Whether there is a registrar, to look after us when we have parked."""
        os.set_blocking(WAKE_FD, True)  # for the shell
        try:
            os.write(LEASE_FD, f"{PARKING}\n".encode())
        except OSError:
            return False
        return True

    async def told_to_exit(self) -> None:
        """Return when the registrar says so."""
        import trio

        if not self.there:
            await trio.sleep_forever()
        os.set_blocking(WAKE_FD, False)
        text, wanted = b"", f"{EXIT}\n".encode()
        while wanted not in text:
            await trio.lowlevel.wait_readable(WAKE_FD)
            text = text[-8:] + os.read(WAKE_FD, 4096)


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
