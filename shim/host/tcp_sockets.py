"""The TCP sockets that listen in a network namespace, by the kernel's own list (proc(5), /proc/net/tcp)."""

import socket
import struct
from pathlib import Path
from typing import NamedTuple

LISTEN = "0A"


class ListeningSocket(NamedTuple):
    """Where it listens.  ``inode``: what its descriptor is a link to, ``socket:[inode]``."""

    ip: str
    port: int
    inode: int


def listening(process: Path = Path("/proc/self")) -> list[ListeningSocket]:
    """Those in the network namespace of the process with this directory in /proc.

    Raises OSError, ValueError, IndexError.
    """
    found = []
    for name in ("tcp", "tcp6"):
        try:
            lines = (process / "net" / name).read_text().splitlines()[1:]
        except FileNotFoundError:
            if name == "tcp":
                raise
            continue  # no IPv6
        for words in map(str.split, lines):
            if words[3] == LISTEN:
                address, _, port = words[1].partition(":")
                found.append(ListeningSocket(_ip(address), int(port, 16), int(words[9])))
    return found


def _ip(text: str) -> str:
    """An address as the kernel prints it: 32-bit words of network order, each in this host's."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET6 if len(words) == 4 else socket.AF_INET, packed)
