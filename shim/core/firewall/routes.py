"""The way back to Envoy for answers to a client's address: a routing rule for the mark, and a route.

`ip`'s command lines are values here, and what it prints is read here; shim/registrar/firewall runs it.
"""

import json
from typing import Any

from shim.core.firewall.names import Family
from shim.core.firewall.table import Keeping

Argv = tuple[str, ...]


class Conflict(Exception):
    """The mark, the priority or the table's number is in use by another program; the text says which."""


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
    has_route, has_rule = _found(keeping, rules, routes)
    verbs = [] if has_route else [change_route("add", family, keeping)]
    return verbs if has_rule else [*verbs, change_rule("add", family, keeping)]


def remaining(family: Family, keeping: Keeping, rules: str, routes: str) -> list[Argv]:
    """The commands that take away this program's rule and route, the rule first.  Raises ValueError."""
    try:
        has_route, has_rule = _found(keeping, rules, routes)
    except Conflict:
        return []
    verbs = [change_rule("del", family, keeping)] if has_rule else []
    return [*verbs, change_route("del", family, keeping)] if has_route else verbs


def _found(keeping: Keeping, rules: str, routes: str) -> tuple[bool, bool]:
    """Whether this program's route is there, and whether its rule is.  Raises Conflict, ValueError."""
    known = [_is_the_route(route) for route in json.loads(routes or "[]")]
    if not all(known):
        raise Conflict(f"routing table {keeping.route_table} has other routes in it")
    has_rule = False
    for rule in json.loads(rules or "[]"):
        if _is_the_rule(rule, keeping):
            has_rule = True
        elif rule.get("priority") == keeping.rule_priority:
            raise Conflict(f"another routing rule has priority {keeping.rule_priority}")
        elif str(rule.get("table")) == str(keeping.route_table):
            raise Conflict(f"another routing rule leads to table {keeping.route_table}")
        elif _takes(rule, keeping.mark):
            raise Conflict(f"another routing rule is for the mark {keeping.mark:#x}")
    return bool(known), has_rule


def _is_the_route(route: dict[str, Any]) -> bool:
    # Asked for numbers, `ip` says 2 (RTN_LOCAL).
    return route.get("type") in ("2", "local") and (route.get("dst"), route.get("dev")) == ("default", "lo")


def _is_the_rule(rule: dict[str, Any], keeping: Keeping) -> bool:
    wanted = (keeping.rule_priority, f"{keeping.mark:#x}", str(keeping.route_table))
    return (rule.get("priority"), rule.get("fwmark"), str(rule.get("table"))) == wanted


def _takes(rule: dict[str, Any], mark: int) -> bool:
    if "fwmark" not in rule:
        return False
    mask = int(str(rule.get("fwmask", "0xffffffff")), 0)
    return mark & mask == int(str(rule["fwmark"]), 0)
