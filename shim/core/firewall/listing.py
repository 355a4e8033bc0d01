"""What `nft -j list table` says, as far as it can be compared with a wanted table."""

import json
from typing import Any, NamedTuple

from shim.core.firewall.names import FAMILIES
from shim.core.firewall.table import Served, Table


class Listing(NamedTuple):
    """The kernel's table: its addresses, and how many rules each chain has."""

    served: frozenset[Served]
    keep: dict[Served, int]
    rules: dict[str, int]


class ListingError(ValueError):
    """Not what `nft -j list table` prints."""


def parse(text: str) -> Listing:
    """The listing in nft's JSON.  Raises ListingError."""
    try:
        return _listing(json.loads(text)["nftables"])
    except (ValueError, KeyError, TypeError) as error:
        raise ListingError(f"not a list of nft's: {error!r}") from None


def rules_of(script: str) -> dict[str, int]:
    """How many rules each chain has once nft has read this script for a whole table."""
    counts: dict[str, int] = {}
    for words in map(str.split, script.splitlines()):
        if words[1] == "chain":
            counts.setdefault(words[4], 0)
        elif words[1] == "rule":
            counts[words[4]] += 1
    return counts


def agrees(listing: Listing, table: Table, script: str) -> bool:
    """Whether the kernel's table is the one that ``script`` makes for ``table``."""
    return (listing.served, listing.keep, listing.rules) == (table.served, table.kept(), rules_of(script))


def _listing(objects: list[dict[str, Any]]) -> Listing:
    served: set[Served] = set()
    keep: dict[Served, int] = {}
    rules: dict[str, int] = {}
    wildcards = {name: family.wildcard for family in FAMILIES for name in (family.any, family.keep_any)}
    for thing in objects:
        if "set" in thing:
            found = thing["set"]
            served |= {_address(element, wildcards.get(found["name"])) for element in found.get("elem", ())}
        elif "map" in thing:
            found = thing["map"]
            wildcard = wildcards.get(found["name"])
            keep |= {_address(element, wildcard): int(port) for element, port in found.get("elem", ())}
        elif "chain" in thing:
            rules.setdefault(thing["chain"]["name"], 0)
        elif "rule" in thing:
            rules[thing["rule"]["chain"]] = rules.get(thing["rule"]["chain"], 0) + 1
    return Listing(frozenset(served), keep, rules)


def _address(element: dict[str, Any], wildcard: str | None) -> Served:
    first, port = element["concat"]
    return Served(wildcard or first, int(port))
