"""The tables that `nft -j list ruleset` prints (libnftables-json(5)).

What is not understood is a match whose answer is not known: a rule is never taken for more than it says.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

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

_VERSIONS = {"ip": frozenset([4]), "ip6": frozenset([6]), "inet": frozenset([4, 6])}
# Statements that change nothing about the packet's way.
_SILENT = {"counter", "log", "meter", "quota", "mangle", "notrack", "ct helper", "flow", "set", "dup"}
_VERDICTS = {
    "accept": ACCEPT,
    "drop": DROP,
    "reject": DROP,
    "masquerade": MASQUERADE,
    "snat": MASQUERADE,
    "dnat": DNAT,
    "redirect": DNAT,
    "tproxy": ACCEPT,
}
_TARGETS = {"MASQUERADE": MASQUERADE, "SNAT": MASQUERADE, "DNAT": DNAT, "REDIRECT": DNAT, "REJECT": DROP}

Sets = Mapping[str, Any]


class RulesetError(ValueError):
    """Not what `nft -j list ruleset` prints."""


def parse(text: str) -> list[Table]:
    """The tables of IP packets.  Raises RulesetError."""
    try:
        return _tables(json.loads(text)["nftables"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RulesetError(f"not a list of nft's: {error!r}") from None


def _tables(objects: list[dict[str, Any]]) -> list[Table]:
    heads: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    rules: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    sets: dict[tuple[str, str], dict[str, Any]] = {}
    for thing in objects:
        ((kind, found),) = thing.items()
        if kind == "metainfo" or found.get("family") not in _VERSIONS:
            continue
        if kind == "table":
            heads.setdefault((found["family"], found["name"]), {})
            continue
        at = found["family"], found["table"]
        if kind == "chain":
            heads.setdefault(at, {})[found["name"]] = found
        elif kind == "rule":
            rules.setdefault((*at, found["chain"]), []).append(found)
        elif kind in ("set", "map"):
            sets.setdefault(at, {})[found["name"]] = found.get("elem", [])
    return [
        Table(
            f"{family} {name}",
            _VERSIONS[family],
            {
                chain: Chain(
                    chain,
                    tuple(
                        made
                        for rule in rules.get((family, name, chain), [])
                        for made in _rules(rule.get("expr", []), sets.get((family, name), {}))
                    ),
                    head.get("hook", ""),
                    DROP if head.get("policy") == "drop" else ACCEPT,
                    head.get("type") == "nat",
                )
                for chain, head in chains.items()
            },
        )
        for (family, name), chains in heads.items()
    ]


def _rules(statements: list[Any], sets: Sets) -> Iterator[Rule]:
    """One rule; several where it has a map of verdicts."""
    found: list[Match] = []
    for statement in statements:
        ((kind, body),) = statement.items()
        if kind == "match":
            found.append(_match(body["op"], body["left"], body["right"], sets))
        elif kind == "vmap":
            # What is not in the map goes on with the rest of the rule, which is hardly ever there.
            for value, verdict in _elements(body["data"], sets):
                (end,) = verdict.items()
                yield _ended((*found, _match("==", body["key"], value, sets)), *end)
            return
        elif kind in _VERDICTS or kind in ("jump", "goto", "return") or _is_target(kind, body):
            yield _ended(tuple(found), kind, body)
            return
        elif kind == "queue":
            # Another program may let it through.
            yield Rule((*found, unknown), ACCEPT)
            return
        elif kind not in _SILENT:
            found.append(unknown)
    yield Rule(tuple(found))


def _is_target(kind: str, body: Any) -> bool:
    return kind == "xt" and isinstance(body, dict) and body.get("type") == "target"


def _ended(found: tuple[Match, ...], kind: str, body: Any) -> Rule:
    if kind in ("jump", "goto"):
        return Rule(found, to=body["target"], goto=kind == "goto")
    if kind == "return":
        return Rule(found, returns=True)
    if kind == "xt":
        return Rule(found, _TARGETS.get(body.get("name", ""), GO_ON))
    return Rule(found, _VERDICTS.get(kind, GO_ON))


def _match(op: str, left: Any, right: Any, sets: Sets) -> Match:
    """``op``: "==", "in", "!=" or another, which is not known."""
    try:
        made = _positive(left, list(_values(right, sets)))
    except (ValueError, LookupError, TypeError):
        return unknown
    if made is None or op not in ("==", "in", "!="):
        return unknown
    return negated(made) if op == "!=" else made


def _positive(left: Any, right: list[Any]) -> Match | None:
    if "meta" in left:
        key = left["meta"]["key"]
        if key in ("iifname", "iif"):
            return matches.interface("iif", map(str, right))
        if key in ("oifname", "oif"):
            return matches.interface("oif", map(str, right))
        if key == "l4proto":
            return matches.proto(map(str, right))
        if key == "nfproto":
            return matches.version({"ipv4": 4, "ipv6": 6}[right[0]])
    if "ct" in left and left["ct"].get("key") == "state":
        return matches.new_connection(map(str, right))
    if "payload" in left:
        protocol, field = left["payload"].get("protocol"), left["payload"].get("field")
        if field == "saddr" and protocol in ("ip", "ip6"):
            number = 4 if protocol == "ip" else 6
            return _both(matches.version(number), matches.source(map(_network, right)))
        if field == "protocol" or field == "nexthdr":
            return matches.proto(map(str, right))
        if field == "dport" and protocol in ("tcp", "udp", "th"):
            ports = matches.port(map(_range, right))
            return ports if protocol == "th" else _both(matches.proto([protocol]), ports)
        if protocol in ("udp", "icmp", "icmpv6"):
            return _both(matches.proto([protocol]), unknown)
    return None


def _both(one: Match, other: Match) -> Match:
    def match(packet: Any) -> bool | None:
        answers = one(packet), other(packet)
        return False if False in answers else None if None in answers else True

    return match


def _values(right: Any, sets: Sets) -> Iterator[Any]:
    if isinstance(right, list):
        yield from right
    elif (isinstance(right, dict) and "set" in right) or (isinstance(right, str) and right.startswith("@")):
        for element in _elements(right, sets):
            yield element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element
    else:
        yield right


def _elements(data: Any, sets: Sets) -> list[Any]:
    """The elements of a set or map, with a name or without.  Raises LookupError."""
    return list(sets[data[1:]] if isinstance(data, str) else data["set"])


def _range(value: Any) -> tuple[int, int]:
    if isinstance(value, dict):
        low, high = value["range"]
        return int(low), int(high)
    return int(value), int(value)


def _network(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    return str(value)
