"""Which interface of this host leads to an address, by the kernel's own routes."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

ROUTES4, ROUTES6 = Path("/proc/self/net/route"), Path("/proc/self/net/ipv6_route")


def interface_to(ip: str) -> str:
    """The interface of the narrowest route to this address; empty: there is none, or it cannot be seen."""
    address = ip_address(ip)
    try:
        if isinstance(address, IPv4Address):
            return _interface4(address, ROUTES4.read_text())
        return _interface6(address, ROUTES6.read_text())
    except (OSError, ValueError, IndexError):
        return ""


def _interface4(address: IPv4Address, routes: str) -> str:
    """Numbers are those in network order, read in this host's."""
    found, narrowest = "", -1
    for name, target, _, _, _, _, _, mask, *_ in map(str.split, routes.splitlines()[1:]):
        network, bits = (socket.ntohl(int(text, 16)) for text in (target, mask))
        if int(address) & bits == network and bits > narrowest:
            found, narrowest = name, bits
    return found


def _interface6(address: IPv6Address, routes: str) -> str:
    found, narrowest = "", -1
    for words in map(str.split, routes.splitlines()):
        length = int(words[1], 16)
        shift = 128 - length
        if int(address) >> shift == int(words[0], 16) >> shift and length > narrowest and words[9] != "lo":
            found, narrowest = words[9], length
    return found
