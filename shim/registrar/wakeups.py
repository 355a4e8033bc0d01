"""Re-sends wake-ups that a shim lost while it parked.

A signal is lost on a shim in the few instructions before its shell's ``read``: the shell acts on it only at
its next line.  The kernel's signal for a datagram is also lost while Python turns into the shell (see
shim.proxy.park).  Hence, soon after UDP shims have parked, the registrar checks whether datagrams wait in
their ports, and later sends every shim an empty line.
"""

import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import trio

from shim.core.binding import Address
from shim.wire.words import NUDGE, RELAY

# Seconds after the first of some shims began to wait: when their ports are checked, and when they are checked
# again and the shims nudged.
SOON, LATER = 0.1, 1.0
# When they are nudged once more (seconds): a signal in the 0.4 us in which the shell reads anew is lost too.
AGAIN = 4.0


class WakeUps:
    """``say`` sends a word to the shim of a lease."""

    def __init__(self, say: Callable[[int, str], None], net: Path = Path("/proc/self/net")) -> None:
        self._say = say
        self._net = net
        self._begun: dict[int, Address | None] = {}  # by lease
        self._some = trio.Event()  # set when ``_begun`` has any

    def begun(self, lease_id: int, address: Address | None = None) -> None:
        """A shim begins to wait about now; ``address``: a UDP shim's, where datagrams may wait already."""
        self._begun[lease_id] = address
        self._some.set()

    async def run(self) -> None:
        """Check and nudge the shims that ``begun`` names.  Does not return."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._some.wait()
                await trio.sleep(SOON)
                begun, self._begun, self._some = self._begun, {}, trio.Event()
                self._check(begun)
                nursery.start_soon(self._check_later, begun)

    async def _check_later(self, begun: dict[int, Address | None]) -> None:
        await trio.sleep(LATER - SOON)
        self._check(begun)
        self._nudge(begun)
        await trio.sleep(AGAIN - LATER)
        self._nudge(begun)

    def _nudge(self, begun: Iterable[int]) -> None:
        for lease_id in begun:
            self._say(lease_id, NUDGE)

    def _check(self, begun: dict[int, Address | None]) -> None:
        if not any(begun.values()):
            return
        waiting = set(self._waiting())
        for lease_id, address in begun.items():
            if address in waiting:
                self._say(lease_id, RELAY)

    def _waiting(self) -> Iterator[Address]:
        for table in ("udp", "udp6"):
            try:
                with open(self._net / table) as lines:
                    yield from waiting_at(lines)
            except OSError:
                pass  # no IPv6 here


def waiting_at(lines: Iterable[str]) -> Iterator[Address]:
    """Addresses in /proc/net/udp (proc_net_udp(5)) of unconnected sockets that have something to read."""
    for line in lines:
        fields = line.split()
        # sl local_address rem_address st tx_queue:rx_queue ...; the first line names the columns.
        if len(fields) > 4 and fields[3] == "07" and int(fields[4].partition(":")[2], 16):
            ip, _, port = fields[1].partition(":")
            yield Address("udp", _ip(ip), int(port, 16))


def _ip(text: str) -> str:
    """An address as the kernel prints it (%08X): words of four bytes, each in the host's byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
