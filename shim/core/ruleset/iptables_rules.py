"""The tables that iptables-save and ip6tables-save print.

nft shows these tables too, but in its JSON a match of iptables' own (conntrack, multiport) has no content.
"""

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from shim.core.ruleset import matches
from shim.core.ruleset.chains import (
    ACCEPT,
    DNAT,
    DROP,
    GO_ON,
    MASQUERADE,
    Chain,
    Match,
    Rule,
    Table,
    negated,
    unknown,
)

_VERDICTS = {
    "ACCEPT": ACCEPT,
    "DROP": DROP,
    "REJECT": DROP,
    "MASQUERADE": MASQUERADE,
    "SNAT": MASQUERADE,
    "DNAT": DNAT,
    "REDIRECT": DNAT,
}
# Targets after which the next rule is asked.
_SILENT = {"LOG", "MARK", "CONNMARK", "NFLOG", "TRACE", "AUDIT", "TCPMSS", "CT", "SET", "CLASSIFY"}
_HOOKS = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}


class Mapped(NamedTuple):
    """One rule that leads a port elsewhere: `-p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80`."""

    chain: str
    proto: str
    ip: str  # the address asked for; empty: any
    port: int
    to: str
    program: str = "iptables"
    line: str = ""  # as it is printed


def parse(text: str, version: int) -> list[Table]:
    """The tables; lines that are none of iptables-save's are left out."""
    return [_table(name, version, lines) for name, lines in _sections(text)]


def mapped(text: str, version: int) -> list[Mapped]:
    """The rules of the table nat that lead one port elsewhere."""
    found = []
    for name, lines in _sections(text):
        for words in lines if name == "nat" else []:
            options = dict(_options(words))
            given = {key: value for key, (value, no) in options.items() if not no}
            port, to = given.get("--dport", ""), given.get("--to-destination", "")
            if given.get("-j") == "DNAT" and port.isdecimal() and to:
                ip = given.get("-d", "").removesuffix("/32").removesuffix("/128")
                program = "iptables" if version == 4 else "ip6tables"
                line = shlex.join(words)
                found.append(Mapped(words[1], given.get("-p", ""), ip, int(port), to, program, line))
    return found


def _sections(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The lines of each table, as words."""
    name, lines = "", list[list[str]]()
    for line in text.splitlines():
        if line.startswith("*"):
            name, lines = line[1:].strip(), []
        elif line.startswith("COMMIT"):
            if name:
                yield name, lines
            name = ""
        elif name and line[:1] in (":", "-"):
            try:
                words = shlex.split(line)
            except ValueError:
                continue  # a comment with an odd quote
            if len(words) > 1:
                lines.append(words)


def _table(name: str, version: int, lines: list[list[str]]) -> Table:
    policies = {words[0][1:]: words[1] for words in lines if words[0].startswith(":")}
    rules: dict[str, list[Rule]] = {chain: [] for chain in policies}
    for words in lines:
        if words[0] == "-A" and words[1] in rules:
            rules[words[1]].append(_rule(words, policies))
    family = "ip" if version == 4 else "ip6"
    return Table(
        f"{family} {name}",
        frozenset([version]),
        {
            chain: Chain(
                chain,
                tuple(rules[chain]),
                chain.lower() if chain in _HOOKS else "",
                DROP if policy == "DROP" else ACCEPT,
                name == "nat",
            )
            for chain, policy in policies.items()
        },
    )


def _rule(words: list[str], chains: "dict[str, str]") -> Rule:
    found: list[Match] = []
    verdict, to, goto, returns = GO_ON, "", False, False
    for option, (value, no) in _options(words):
        if option in ("-j", "-g"):
            if value in chains:
                to, goto = value, option == "-g"
            elif value == "RETURN":
                returns = True
            elif value in _VERDICTS:
                verdict = _VERDICTS[value]
            elif value not in _SILENT:
                # Such as NFQUEUE: another program may let it through.
                found.append(unknown)
                verdict = ACCEPT
            # What follows is the target's own.
            break
        match = _match(option, value)
        if match is not None:
            found.append(negated(match) if no else match)
    return Rule(tuple(found), verdict, to, goto, returns)


def _options(words: list[str]) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Every option after the chain's name, with its value (empty: it has none) and whether it is negated."""
    rest = words[2:]
    no = False
    while rest:
        word = rest.pop(0)
        if word == "!":
            no = True
            continue
        value = ""
        if rest and not rest[0].startswith("-") and rest[0] != "!":
            value = rest.pop(0)
            while rest and not rest[0].startswith("-") and rest[0] != "!":
                value += f" {rest.pop(0)}"
        yield word, (value, no)
        no = False


def _match(option: str, value: str) -> Match | None:
    """What this option asks for; None: nothing."""
    try:
        if option in ("-i", "-o"):
            name = value[:-1] + "*" if value.endswith("+") else value
            return matches.interface("iif" if option == "-i" else "oif", [name])
        if option == "-s":
            return matches.source(value.split(","))
        if option == "-p":
            return matches.proto([value]) if value not in ("all", "0") else None
        if option in ("--dport", "--dports"):
            return matches.port(_range(text) for text in value.split(","))
        if option in ("--ctstate", "--state"):
            return matches.new_connection(value.split(","))
        if option == "-m":
            return None  # its own options follow
        if option in ("--comment", "--syn"):
            return None
    except (ValueError, IndexError):
        pass
    return unknown


def _range(text: str) -> tuple[int, int]:
    low, colon, high = text.partition(":")
    return int(low or 0), int(high or (65535 if colon else low))
