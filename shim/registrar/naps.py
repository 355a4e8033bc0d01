"""Looks after UDP shims that have just parked: one that missed a datagram meanwhile is woken.

The kernel's signal wakes a parked shim, but it is lost in the moment in which Python turns into the shell,
and in the few instructions before the shell's ``read`` (see shim.proxy.park).  Hence two looks at how much
is waiting in the port: soon, and once more when the shell has certainly come to rest.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import trio

# After a shim has parked (seconds).  A look is for all that parked meanwhile.
SOON, LATER = 0.1, 1.0


class Naps:
    """``wake`` is called with the lease of a shim that has a datagram waiting."""

    def __init__(self, wake: Callable[[int], None], net: Path = Path("/proc/net")) -> None:
        self._wake = wake
        self._net = net
        self._parked: dict[int, int] = {}  # lease id -> port
        self._some = trio.Event()

    def parked(self, lease_id: int, port: int) -> None:
        self._parked[lease_id] = port
        self._some.set()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._some.wait()
                await trio.sleep(SOON)
                parked, self._parked, self._some = self._parked, {}, trio.Event()
                self._look(parked)
                nursery.start_soon(self._look_later, parked)

    async def _look_later(self, parked: dict[int, int]) -> None:
        await trio.sleep(LATER - SOON)
        self._look(parked)

    def _look(self, parked: dict[int, int]) -> None:
        # Another address's socket on that port may be meant: then a shim wakes for nothing, and parks again.
        waiting = set(self._waiting())
        for lease_id, port in parked.items():
            if port in waiting:
                self._wake(lease_id)

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
