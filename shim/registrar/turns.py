"""Work by turns: a bit of one request at a time, and users, not connections, one after another.

What the process does for a request it does in one thread.  A user with a hundred connections has work for it
without end; whoever has one must get on all the same, and so must all that is no request: registrations,
Docker's events, time.
"""

from collections import OrderedDict

import trio

# A share of its own for those whose work everybody waits for; it comes first.
TRUSTED = -2


class Turns:
    """``await turns.take(share)`` returns when it is that share's turn.

    The turn is what the caller does until it next waits for anything.  The one after it begins not before
    every other task of the process that is able to has had its go.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting: OrderedDict[int, trio.lowlevel.ParkingLot] = OrderedDict()

    async def take(self, share: int) -> None:
        """Wait for the turn of this share."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._taken:
            lot = self._waiting.setdefault(share, trio.lowlevel.ParkingLot())
            await lot.park()
        else:
            self._taken = True
            await trio.lowlevel.cancel_shielded_checkpoint()
        self._pass_on()

    def _pass_on(self) -> None:
        """Wake the next one: it runs when the caller, and all who are about to, have had their go."""
        while self._waiting:
            share = TRUSTED if TRUSTED in self._waiting else next(iter(self._waiting))
            lot = self._waiting.pop(share)
            woken = lot.unpark(count=1)
            if lot:
                self._waiting[share] = lot  # behind the others
            if woken:
                return
        self._taken = False
