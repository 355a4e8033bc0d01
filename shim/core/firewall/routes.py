"""The way back to Envoy for answers to a client's address: a routing rule for the mark, and a route.

`ip`'s command lines are values here, and what it prints is judged here; who runs it is elsewhere.
"""

import json
from typing import Any

from shim.core.firewall.names import Family
from shim.core.firewall.table import Keeping

Argv = tuple[str, ...]


class Conflict(Exception):
    """A mark, a priority or a table number of ours is in use by others; the text says which."""


def show_rules(family: Family) -> Argv:
    """`ip`'s arguments that print every routing rule as JSON."""
    return ("-N", "-j", f"-{family.version}", "rule", "show")


def show_routes(family: Family, keeping: Keeping) -> Argv:
    """`ip`'s arguments that print the routes of the table as JSON."""
    return ("-N", "-j", f"-{family.version}", "route", "show", "table", str(keeping.route_table))


def change_rule(verb: str, family: Family, keeping: Keeping) -> Argv:
    """`add` or `del`: what bears the mark is looked up in the table."""
    priority, table = str(keeping.rule_priority), str(keeping.route_table)
    selector = ("priority", priority, "fwmark", f"{keeping.mark:#x}", "lookup", table)
    return (f"-{family.version}", "rule", verb, *selector)


def change_route(verb: str, family: Family, keeping: Keeping) -> Argv:
    """`add` or `del`: every address is this host's own."""
    table = str(keeping.route_table)
    return (f"-{family.version}", "route", verb, "local", "default", "dev", "lo", "table", table)


def missing(family: Family, keeping: Keeping, rules: str, routes: str) -> list[Argv]:
    """The commands that make what is missing, the route first.  Raises Conflict, ValueError."""
    there, ours = _ours(keeping, rules, routes)
    verbs = [] if there else [change_route("add", family, keeping)]
    return verbs if ours else [*verbs, change_rule("add", family, keeping)]


def remaining(family: Family, keeping: Keeping, rules: str, routes: str) -> list[Argv]:
    """The commands that take away what is ours, the rule first; nothing of others'."""
    try:
        there, ours = _ours(keeping, rules, routes)
    except Conflict:
        return []
    verbs = [change_rule("del", family, keeping)] if ours else []
    return [*verbs, change_route("del", family, keeping)] if there else verbs


def _ours(keeping: Keeping, rules: str, routes: str) -> tuple[bool, bool]:
    """Whether our route, and whether our rule is there."""
    there = [_is_our_route(route) for route in json.loads(routes or "[]")]
    if not all(there):
        raise Conflict(f"routing table {keeping.route_table} has other routes in it")
    ours = False
    for rule in json.loads(rules or "[]"):
        if _is_our_rule(rule, keeping):
            ours = True
        elif rule.get("priority") == keeping.rule_priority:
            raise Conflict(f"another routing rule has priority {keeping.rule_priority}")
        elif str(rule.get("table")) == str(keeping.route_table):
            raise Conflict(f"another routing rule leads to table {keeping.route_table}")
        elif _takes(rule, keeping.mark):
            raise Conflict(f"another routing rule is for the mark {keeping.mark:#x}")
    return bool(there), ours


def _is_our_route(route: dict[str, Any]) -> bool:
    # Asked for numbers, `ip` says 2 (RTN_LOCAL).
    return route.get("type") in ("2", "local") and (route.get("dst"), route.get("dev")) == ("default", "lo")


def _is_our_rule(rule: dict[str, Any], keeping: Keeping) -> bool:
    wanted = (keeping.rule_priority, f"{keeping.mark:#x}", str(keeping.route_table))
    return (rule.get("priority"), rule.get("fwmark"), str(rule.get("table"))) == wanted


def _takes(rule: dict[str, Any], mark: int) -> bool:
    if "fwmark" not in rule:
        return False
    mask = int(str(rule.get("fwmask", "0xffffffff")), 0)
    return mark & mask == int(str(rule["fwmark"]), 0)
