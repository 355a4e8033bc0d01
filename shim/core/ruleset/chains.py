"""Rules as values, and what may become of a packet of which not all is known.

A match answers True, False, or None where the answer depends on what nobody knows here (which client, which
connection).  So a packet's fate is a set: {DROP} means that it is dropped whoever sends it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

ACCEPT, DROP, MASQUERADE, DNAT = "accept", "drop", "masquerade", "dnat"
# Not an end: the next rule is asked.
GO_ON = "go on"
# Chains jump into chains; the kernel allows 16 levels.
DEPTH = 16


class Packet(NamedTuple):
    """The first packet of a connection.  ``version``: 4 or 6; None: not known."""

    version: int
    iif: str | None = None  # the interface it came in by
    oif: str | None = None  # the interface it goes out by
    source: str | None = None  # an IP address
    proto: str = "tcp"
    port: int | None = None  # the destination's


Match = Callable[[Packet], bool | None]


class Rule(NamedTuple):
    """All ``matches`` must hold.  ``verdict``: one of the words above; or ``to``: a chain to walk first.

    ``goto``: that chain does not return to the rules after this one.
    """

    matches: tuple[Match, ...]
    verdict: str = GO_ON
    to: str = ""
    goto: bool = False
    returns: bool = False


class Chain(NamedTuple):
    """Rules in their order.  A base chain has a ``hook``, and a ``policy`` for what no rule decides."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""  # "input", "forward", "postrouting" ...
    policy: str = ACCEPT
    nat: bool = False  # of type nat


class Table(NamedTuple):
    """The chains of one table by name; ``versions``: the IP versions whose packets it sees."""

    name: str  # as `nft` has it: "inet filter"
    versions: frozenset[int]
    chains: Mapping[str, Chain]


class Dropping(NamedTuple):
    """A base chain that drops a packet whoever sends it."""

    table: str
    chain: str


def dropping(tables: Iterable[Table], hook: str, packet: Packet) -> Dropping | None:
    """The first base chain at this hook that drops the packet for certain; None: none does."""
    for table, chain in _at(tables, hook, packet):
        if not chain.nat and outcomes(table, chain, packet) == {DROP}:
            return Dropping(table.name, chain.name)
    return None


def possible(tables: Iterable[Table], hook: str, packet: Packet) -> set[str]:
    """All that rules of type nat at this hook may do with the packet."""
    found: set[str] = set()
    for table, chain in _at(tables, hook, packet):
        if chain.nat:
            found |= outcomes(table, chain, packet)
    return found


def _at(tables: Iterable[Table], hook: str, packet: Packet) -> Iterable[tuple[Table, Chain]]:
    for table in tables:
        if packet.version in table.versions:
            for chain in table.chains.values():
                if chain.hook == hook:
                    yield table, chain


def outcomes(table: Table, chain: Chain, packet: Packet) -> set[str]:
    """What may become of the packet in this base chain."""
    found = _walk(table, chain, packet, DEPTH)
    return (found - {GO_ON}) | ({chain.policy} if GO_ON in found else set())


def _walk(table: Table, chain: Chain, packet: Packet, depth: int) -> set[str]:
    """... and GO_ON where it may come to the chain's end."""
    found: set[str] = set()
    for rule in chain.rules:
        matched = holds(rule.matches, packet)
        if matched is False:
            continue
        result = _result(table, rule, packet, depth)
        found |= result - {GO_ON}
        leaves = rule.returns or rule.goto
        if leaves and GO_ON in result:
            found.add(GO_ON)
        if matched and (leaves or GO_ON not in result):
            return found
    return found | {GO_ON}


def _result(table: Table, rule: Rule, packet: Packet, depth: int) -> set[str]:
    if not rule.to:
        return {rule.verdict}
    if depth == 0 or rule.to not in table.chains:
        return {GO_ON}
    return _walk(table, table.chains[rule.to], packet, depth - 1)


def holds(matches: Iterable[Match], packet: Packet) -> bool | None:
    """Whether all hold; None: it depends."""
    answers = {match(packet) for match in matches}
    return False if False in answers else None if None in answers else True


def unknown(_: Packet) -> bool | None:
    """A match whose answer depends on what is not known here."""
    return None


def negated(match: Match) -> Match:
    """The opposite."""

    def opposite(packet: Packet) -> bool | None:
        answer = match(packet)
        return None if answer is None else not answer

    return opposite
