"""How many of the host's UDP ports this relay may use, so that all relays together leave the host enough.

Each flow has a socket with an ephemeral port of its own, and all programs of a host share these.  No relay
knows of the others, and none needs to: the kernel says how many UDP sockets there are.  A relay takes no
more ports than it leaves free for later ones, besides a reserve for other programs.  So one
busy relay may have three eighths of all ports, two have a quarter each, ten a fifteenth, and together they
leave more than the reserve.  A relay that has more than it may have gives ports back as new clients come.
"""

import os

RESERVE = 4  # one port in this many is for other programs
LEAST = 16  # flows that a relay may have whatever the others do
EVERY = 32  # new flows between two readings of the kernel's count
FALLBACK = 2_000  # flows where /proc does not tell

_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"
_COUNTS = {
    "/proc/thread-self/net/sockstat": b"\nUDP: inuse ",
    "/proc/thread-self/net/sockstat6": b"UDP6: inuse ",
}


def allowance(ports: int, used: int, mine: int) -> int:
    """How many ports a relay may have that has ``mine``, of ``ports``, of which ``used`` are taken."""
    return max(LEAST, (ports - ports // RESERVE - (used - mine)) // 2)


def count(range_text: str, reserved_text: str) -> int:
    """How many ephemeral ports the kernel has to give, as its two settings say.  Raises ValueError."""
    low, high = map(int, range_text.split())
    ports = set(range(low, high + 1))
    for item in reserved_text.strip().split(",") if reserved_text.strip() else ():
        first, _, last = item.partition("-")
        ports -= set(range(int(first), int(last or first) + 1))
    return len(ports)


class Ports:
    """This host's UDP ports, as one relay sees them."""

    def __init__(self, most: int) -> None:
        """``most``: flows this relay may have in any case."""
        self._most = most
        self._allowed = min(most, FALLBACK)
        self._left = 0  # flows until the next look
        self._counts: list[tuple[int, bytes]] = []
        try:
            with open(_RANGE) as range_file, open(_RESERVED) as reserved_file:
                self._ports = count(range_file.read(), reserved_file.read())
            for path, before in _COUNTS.items():
                if os.path.exists(path):  # a kernel may be without IPv6
                    self._counts.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), before))
        except (OSError, ValueError):
            self.close()

    def close(self) -> None:
        """Close the files in /proc: the limit stays as it is."""
        while self._counts:
            os.close(self._counts.pop()[0])

    def limit(self, mine: int) -> int:
        """How many flows this relay may have, which has ``mine``: asked before each new one."""
        if mine < LEAST:
            return min(self._most, LEAST)
        if not self._left and self._counts:
            self._left = EVERY
            used = self._used()
            if used is not None:
                self._allowed = min(self._most, allowance(self._ports, used, mine))
        self._left -= 1
        return self._allowed

    def _used(self) -> int | None:
        used = 0
        try:
            for fd, before in self._counts:
                used += int(os.pread(fd, 4096, 0).partition(before)[2].split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return used
