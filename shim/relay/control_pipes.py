"""The relay's side of a shim's control pipes (shim.wire.words)."""

import os
import select
import stat

from shim.wire.traffic import traffic_line
from shim.wire.words import EXIT, LEASE_FD, ORPHAN, PARKING, WAKE_FD


class ControlPipes:
    """The two pipes that the start-up left on LEASE_FD and WAKE_FD; ``there``: this process has them."""

    def __init__(self) -> None:
        self.there = all(_is_pipe(fd) for fd in (LEASE_FD, WAKE_FD))
        self._told: dict[str, int] = {}

    def orphaned(self) -> bool:
        """Tell the registrar that dockerd has died; returns whether one runs, which will say when to end."""
        if not self.there:
            return False
        try:
            os.write(LEASE_FD, f"{ORPHAN}\n".encode())
        except OSError:
            return False
        return True

    def tell(self, numbers: dict[str, int]) -> None:
        """Tell the registrar how these numbers (wire.traffic.FIELDS) have grown since the last time.

        Nothing waits for that: where no registrar is, or it does not read, it is told the next time.
        """
        new = {field: number - self._told.get(field, 0) for field, number in numbers.items()}
        if not self.there or not (any(new.values()) and _has_room(LEASE_FD)):
            return
        try:
            os.write(LEASE_FD, f"{traffic_line({**new, 'clients': numbers['clients']})}\n".encode())
        except OSError:
            return
        self._told = numbers

    def can_park(self) -> bool:
        """Whether a registrar runs, which re-sends the wake-ups that a parked shim loses."""
        os.set_blocking(WAKE_FD, True)  # for the shell
        try:
            os.write(LEASE_FD, f"{PARKING}\n".encode())
        except OSError:
            return False
        return True

    async def told_to_exit(self) -> None:
        """Return when the registrar says EXIT; without pipes, never."""
        import trio

        if not self.there:
            await trio.sleep_forever()
        os.set_blocking(WAKE_FD, False)
        text, wanted = b"", f"{EXIT}\n".encode()
        while wanted not in text:
            await trio.lowlevel.wait_readable(WAKE_FD)
            text = text[-8:] + os.read(WAKE_FD, 4096)


def _has_room(fd: int) -> bool:
    """Whether a line fits: a pipe is writable while it has room for PIPE_BUF bytes."""
    return bool(select.select([], [fd], [], 0)[1])


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
