"""The matches that both kinds of rules have: interfaces, addresses, ports, protocols."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network

from shim.core.ruleset.chains import Match, Packet


def interface(side: str, patterns: Iterable[str]) -> Match:
    """``side``: "iif" or "oif"; a pattern may end with ``*``."""
    names = tuple(patterns)

    def match(packet: Packet) -> bool | None:
        found = packet.iif if side == "iif" else packet.oif
        return None if found is None else any(fnmatchcase(found, name) for name in names)

    return match


def source(networks: Iterable[str]) -> Match:
    """The sender is in one of these networks.  Raises ValueError."""
    known = [ip_network(text, strict=False) for text in networks]

    def match(packet: Packet) -> bool | None:
        if packet.source is None:
            # Who everybody is in, the unknown sender is in too.
            return True if any(n.prefixlen == 0 and n.version == packet.version for n in known) else None
        address = ip_address(packet.source)
        return any(address.version == network.version and address in network for network in known)

    return match


def port(ranges: Iterable[tuple[int, int]]) -> Match:
    """The destination's port is in one of these, both ends included."""
    known = tuple(ranges)

    def match(packet: Packet) -> bool | None:
        return None if packet.port is None else any(low <= packet.port <= high for low, high in known)

    return match


def proto(names: Iterable[str]) -> Match:
    """The protocol has one of these names, or the number of one."""
    known = {_PROTOCOLS.get(str(name), str(name)) for name in names}
    return lambda packet: packet.proto in known


def version(number: int) -> Match:
    """The IP version."""
    return lambda packet: packet.version == number


def new_connection(states: Iterable[str]) -> Match:
    """The connection's state is one of these words: a packet here is always a new connection's."""
    is_new = "new" in {state.lower() for state in states}
    return lambda _: is_new


_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp", "1": "icmp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}
