"""Work by turns: a part of one request at a time, and users, not connections, one after another.

The process does all its work in one thread, and a user with a hundred connections can keep it busy without
end.  Another user's single request must be answered all the same, and so must registrations, Docker's events
and deadlines.
"""

from collections import OrderedDict

import trio

# The share of trusted users, whose requests ports wait for; it comes first.
TRUSTED = -2


class Turns:
    """``await turns.take(share)`` returns when it is that share's turn.

    The turn is what the caller does until it next waits for anything.  The next turn begins only after every
    other task of the process that can run has run.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting: OrderedDict[int, trio.lowlevel.ParkingLot] = OrderedDict()

    async def take(self, share: int) -> None:
        """Wait for a turn of this share.  Raises trio.Cancelled."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._taken:
            lot = self._waiting.setdefault(share, trio.lowlevel.ParkingLot())
            await lot.park()
        else:
            self._taken = True
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._pass_on()

    def _pass_on(self) -> None:
        """Wake the next waiting task: it runs after the caller, and after every task that can run already."""
        while self._waiting:
            share = TRUSTED if TRUSTED in self._waiting else next(iter(self._waiting))
            lot = self._waiting.pop(share)
            woken = lot.unpark(count=1)
            if lot:
                self._waiting[share] = lot  # behind the others
            if woken:
                return
        self._taken = False
