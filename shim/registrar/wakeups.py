"""Looks after shims that have just begun to wait: what they missed while they lay down is told them.

A signal is lost on a shim in the few instructions before its shell's ``read``, which then acts on it only
when a line comes; and the kernel's signal for a datagram is also lost while Python turns into the shell
(see shim.proxy.park).  Hence a look at how much is waiting in the ports of UDP shims that have parked, soon,
and for every shim an empty line when it has certainly come to rest.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import trio

from shim.wire.words import NUDGE, RELAY

# After a shim has begun to wait (seconds).  A look is for all that did meanwhile.
SOON, LATER = 0.1, 1.0
# A nudge has the shell read anew, so what comes in that very moment (0.4 us, measured) is lost once more.
AGAIN = 4.0


class WakeUps:
    """``say`` is called with a lease, and what to tell its shim."""

    def __init__(self, say: Callable[[int, str], None], net: Path = Path("/proc/net")) -> None:
        self._say = say
        self._net = net
        self._begun: dict[int, int] = {}  # lease -> UDP port, or 0
        self._some = trio.Event()

    def begun(self, lease_id: int, port: int = 0) -> None:
        """A shim waits from about now on; for UDP, in its port may be what woke nobody."""
        self._begun[lease_id] = port
        self._some.set()

    async def run(self) -> None:
        """Look after them.  Does not return."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._some.wait()
                await trio.sleep(SOON)
                begun, self._begun, self._some = self._begun, {}, trio.Event()
                self._look(begun)
                nursery.start_soon(self._look_later, begun)

    async def _look_later(self, begun: dict[int, int]) -> None:
        await trio.sleep(LATER - SOON)
        self._look(begun)
        self._nudge(begun)
        await trio.sleep(AGAIN - LATER)
        self._nudge(begun)

    def _nudge(self, begun: Iterable[int]) -> None:
        for lease_id in begun:
            self._say(lease_id, NUDGE)

    def _look(self, begun: dict[int, int]) -> None:
        # Another address's socket on that port may be meant: then a shim wakes for nothing, and parks again.
        waiting = set(self._waiting()) if any(begun.values()) else ()
        for lease_id, port in begun.items():
            if port in waiting:
                self._say(lease_id, RELAY)

    def _waiting(self) -> Iterator[int]:
        for table in ("udp", "udp6"):
            try:
                with open(self._net / table) as lines:
                    yield from ports_waiting(lines)
            except OSError:
                pass  # no IPv6 here


def ports_waiting(lines: Iterable[str]) -> Iterator[int]:
    """The ports in /proc/net/udp (proc_net_udp(5)) of unconnected sockets with something to read."""
    for line in lines:
        fields = line.split()
        # sl local_address rem_address st tx_queue:rx_queue ...; the first line names the columns.
        if len(fields) > 4 and fields[3] == "07" and int(fields[4].partition(":")[2], 16):
            yield int(fields[1].rpartition(":")[2], 16)
