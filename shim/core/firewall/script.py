"""What `nft -f -` reads: the whole table, or what changed in it.

One script is one transaction: the kernel switches from the old rules to the new ones between two packets, or
changes nothing.  So within a script order has no meaning for traffic, and nothing flickers; between scripts
the order is the caller's.  A connection is mapped at its first packet: what is open stays where it is.

A served address is mapped to itself, with which Docker's later mapping is off the table for the connection,
and it stays on this host, where Envoy listens.  Three things decide who is mapped:

- `socket wildcard <= 1`, where the table fails open: some socket listens there (or the connection is known).
  When Envoy has died the rule lets go by itself.
- That condition does not hold when the client's source port was used lately and Envoy closed that connection:
  what the kernel finds is its remains (TIME_WAIT).  A client with many short connections would be past Envoy
  with half of them.  The chain for reused source ports catches these; it cannot know whether Envoy lives, so
  like the output chain it has rules only while the registrar knows one.  Should both have died, the remains
  answer such a client with an ACK, its TCP resets them and asks again at once: 12 ms, and it gets the
  container.
- In the output hook `socket` would see the sender's socket.

Connections that keep their client's address are handed to the second listener by `tproxy`, which alters no
packet: an input chain sees the published port, and the second listener listens on loopback only.  Where
none listens it lets go too.  `ct status` leaves alone what Docker mapped while Envoy was away: taking over
in the middle would end it.

A dockerd that restarts takes its rules away and makes them anew, one port after the other, and wants every
port free meanwhile.  What reaches a held address and finds no listener is dropped and not refused: the
client's TCP asks again after a second.

The table is to be the youngest of those that map addresses.  `nft flush ruleset` is one transaction, but the
kernel takes the chains off their hooks one after the other, table by table, the oldest first, and until then
each keeps its rules (nf_tables_commit_chain_prepare leaves out chains that are being deleted).  Were Docker's
tables younger, a connection made in between (0.1 ms, or with many rules some milliseconds) would be Docker's,
and lost when Docker's chains go: what is mapped needs a chain that is there.
"""

from collections.abc import Iterable, Iterator

from shim.core.firewall.names import (
    FAMILIES,
    FAMILY,
    HELD,
    HELD_HOOK,
    KEEP,
    KEEP_HOOK,
    OUTPUT,
    OUTPUT_HOOK,
    PREROUTING,
    PREROUTING_HOOK,
    REUSED,
    TABLE,
    Family,
)
from shim.core.firewall.table import Keeping, Served, Table

TARGET = f"{FAMILY} {TABLE}"
# Adding first makes it no error when there is none.
CLEAR = f"add table {TARGET}\ndelete table {TARGET}\n"


def whole(table: Table | None) -> str:
    """The script that puts this table in place of whatever is there; None: no table.

    Replaced and not flushed: a table of an older version may have other chains, and sets of other types.
    """
    if table is None:
        return CLEAR
    return "".join([CLEAR, *_structure(table), *_elements("add", table.served, table.kept().items())])


def delta(old: Table, new: Table) -> str | None:
    """The script that makes ``old`` into ``new``; empty: they are the same; None: only ``whole`` can.

    It fails, and changes nothing, where the kernel's table is not ``old``.
    """
    if _shape(old) != _shape(new):
        return None
    parts: list[str] = []
    was, now = old.kept().items(), new.kept().items()
    parts += _elements("delete", old.served - new.served, was - now)
    parts += _elements("add", new.served - old.served, now - was)
    if old.takes_local != new.takes_local:
        parts += (f"flush chain {TARGET} {chain}\n" for chain in (OUTPUT, REUSED))
        parts += _local_rules(new)
    return "".join(parts)


def probe(*, keep: bool) -> str:
    """A table with every kind of rule, for `nft --check`; ``keep``: with those for client addresses too."""
    address = Served(FAMILIES[0].wildcard, 1)
    return whole(Table(frozenset([address]), {address: 1} if keep else {}, local=True))


def _shape(table: Table) -> tuple[bool, Keeping | None, frozenset[Served]]:
    return table.fail_open, table.keeping if table.kept() else None, table.held


def _structure(table: Table) -> Iterator[str]:
    """Chains, sets and rules, without elements."""
    yield f"add table {TARGET}\n"
    yield f"add chain {TARGET} {PREROUTING} {{ {PREROUTING_HOOK} }}\n"
    yield f"add chain {TARGET} {OUTPUT} {{ {OUTPUT_HOOK} }}\n"
    yield f"add chain {TARGET} {REUSED}\n"
    for family in FAMILIES:
        yield f"add set {TARGET} {family.any} {{ type {family.any_key}; }}\n"
        yield f"add set {TARGET} {family.one} {{ type {family.one_key}; }}\n"
        yield from _rules(PREROUTING, family, "socket wildcard <= 1 " if table.fail_open else "")
    if table.fail_open:
        yield f"add rule {TARGET} {PREROUTING} jump {REUSED}\n"
    yield from _local_rules(table)
    if table.kept():
        yield from _keep_rules(table.keeping)
    if table.held:
        yield f"add chain {TARGET} {HELD} {{ {HELD_HOOK} }}\n"
        yield f"add rule {TARGET} {HELD} socket wildcard <= 1 accept\n"
        for family in FAMILIES:
            yield from _held_rules(family, [address for address in table.held if address.family is family])


def _rules(chain: str, family: Family, condition: str = "", but: str = "") -> Iterator[str]:
    to_itself = f"fib daddr type local {condition}dnat {family.ip} to {family.ip} daddr\n"
    start = f"add rule {TARGET} {chain} meta nfproto {family.proto} {but}"
    yield f"{start}meta l4proto . th dport @{family.any} {to_itself}"
    yield f"{start}{family.ip} daddr . tcp dport @{family.one} {to_itself}"


def _local_rules(table: Table) -> Iterator[str]:
    """The rules that are there only while an Envoy is."""
    if not table.takes_local:
        return
    for family in FAMILIES:
        yield from _rules(OUTPUT, family, but=f"{family.ip} daddr != {family.loopback} ")
        if table.fail_open:
            yield from _rules(REUSED, family, "socket transparent <= 1 ")


def _held_rules(family: Family, held: list[Served]) -> Iterator[str]:
    start = f"add rule {TARGET} {HELD} fib daddr type local tcp flags & (syn | ack) == syn"
    any_ = sorted(str(address.port) for address in held if address.is_wildcard)
    one = sorted(f"{address.ip} . {address.port}" for address in held if not address.is_wildcard)
    if any_:
        yield f"{start} meta nfproto {family.proto} tcp dport {{ {', '.join(any_)} }} drop\n"
    if one:
        yield f"{start} {family.ip} daddr . tcp dport {{ {', '.join(one)} }} drop\n"


def _keep_rules(keeping: Keeping) -> Iterator[str]:
    inner = ", ".join(f'"{name}"' for name in keeping.inner)
    rule = f"add rule {TARGET} {KEEP} meta l4proto tcp iifname"
    yield f"add chain {TARGET} {KEEP} {{ {KEEP_HOOK} }}\n"
    # The way back: the container answers the client's address, and the answer is Envoy's.
    yield f"{rule} {{ {inner} }} socket transparent 1 meta mark set {keeping.mark:#x}\n"
    for family in FAMILIES:
        yield f"add map {TARGET} {family.keep_any} {{ type {family.any_key} : inet_service; }}\n"
        yield f"add map {TARGET} {family.keep_one} {{ type {family.one_key} : inet_service; }}\n"
        hand_over = (
            f"{rule} != {{ {inner} }} meta nfproto {family.proto} ct status & dnat == 0 fib daddr type local"
            f" tproxy {family.ip} to {family.listener}:"
        )
        yield f"{hand_over}meta l4proto . th dport map @{family.keep_any}\n"
        yield f"{hand_over}{family.ip} daddr . tcp dport map @{family.keep_one}\n"


def _elements(verb: str, served: Iterable[Served], kept: Iterable[tuple[Served, int]]) -> Iterator[str]:
    """The commands for these elements, one for each set that has any."""
    found: dict[str, list[str]] = {}
    for address in served:
        name, key = (address.family.any, "tcp") if address.is_wildcard else (address.family.one, address.ip)
        found.setdefault(name, []).append(f"{key} . {address.port}")
    for address, listener in kept:
        family, ip, port = address.family, address.ip, address.port
        name, key = (family.keep_any, "tcp") if address.is_wildcard else (family.keep_one, ip)
        found.setdefault(name, []).append(f"{key} . {port} : {listener}")
    for name in sorted(found):
        yield f"{verb} element {TARGET} {name} {{ {', '.join(sorted(found[name]))} }}\n"
