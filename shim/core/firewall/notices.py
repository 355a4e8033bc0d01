"""The kernel's notices of changes: whose socket touched this program's table, made a chain that maps
addresses, or deleted a routing rule or the route for clients' addresses.

The layouts are those of linux/netlink.h, nfnetlink.h and nf_tables.h, in the host's byte order.
"""

import struct
from collections.abc import Iterator

from shim.core.firewall.names import TABLE

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
NFGENMSG = 4
SUBSYSTEM_NFTABLES = 10
NFPROTO_INET = 1
NEW_GENERATION = 15  # says nothing of tables
TABLE_NAME = 1  # this attribute of every other message
NEW_CHAIN, CHAIN_TYPE = 3, 7
NAT = b"nat"
DELETED_RULE, DELETED_ROUTE = 33, 25  # RTM_DELRULE, RTM_DELROUTE
RTMSG = struct.Struct("=BBBBBBBBI")  # family, length of the destination, ..., type, flags
LOCAL = 2  # RTN_LOCAL


def touching(data: bytes) -> set[int]:
    """The port ids of the sockets that, by these nftables notices, changed the table."""
    found: set[int] = set()
    for kind, port, body in _messages(data):
        if port not in found and _is_of_table(kind, body):  # one notice of many is enough
            found.add(port)
    return found


def mapping(data: bytes) -> set[int]:
    """The port ids of the sockets that, by these nftables notices, made a base chain that maps addresses."""
    return {port for kind, port, body in _messages(data) if _is_nat_chain(kind, body)}


def unrouting(data: bytes) -> set[int]:
    """The port ids of the sockets that, by these routing notices, deleted a rule, or a route like the one
    that is for clients' addresses: to everywhere, and ending on this host."""
    return {port for kind, port, body in _messages(data) if kind == DELETED_RULE or _is_way(kind, body)}


def _is_nat_chain(kind: int, body: bytes) -> bool:
    if kind != SUBSYSTEM_NFTABLES << 8 | NEW_CHAIN:
        return False
    return any(name == CHAIN_TYPE and value == NAT for name, value in _attributes(body))


def _is_way(kind: int, body: bytes) -> bool:
    if kind != DELETED_ROUTE or len(body) < RTMSG.size:
        return False
    _, length, *_, route_type, _ = RTMSG.unpack_from(body)
    return (length, route_type) == (0, LOCAL)


def _is_of_table(kind: int, body: bytes) -> bool:
    if kind >> 8 != SUBSYSTEM_NFTABLES or kind & 0xFF == NEW_GENERATION or body[:1] != bytes([NFPROTO_INET]):
        return False
    return any(name == TABLE_NAME and value == TABLE.encode() for name, value in _attributes(body))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, port id and body of each; what does not parse ends it."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, _, _, port = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > len(data):
            return
        yield kind, port, data[at + HEADER.size : at + length]
        at += _aligned(length)


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = NFGENMSG
    while at + ATTRIBUTE.size <= len(body):
        length, name = ATTRIBUTE.unpack_from(body, at)
        if length < ATTRIBUTE.size or at + length > len(body):
            return
        yield name, body[at + ATTRIBUTE.size : at + length].rstrip(b"\0")
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
