"""What `ip` shows is judged: ours, missing, or another's.  The lines are iproute2's own."""

import json

import pytest

from shim.core.firewall.names import IPV4, IPV6
from shim.core.firewall.routes import Conflict, missing, remaining
from shim.core.firewall.table import USUAL

USUAL_RULES: list[dict[str, object]] = [
    {"priority": 0, "src": "all", "table": "255"},
    {"priority": 32766, "src": "all", "table": "254"},
    {"priority": 32767, "src": "all", "table": "253"},
]
OURS = {"priority": 7776, "src": "all", "fwmark": "0x7776", "table": "7776"}
OUR_ROUTE = {"type": "2", "dst": "default", "dev": "lo", "scope": "254", "flags": []}
ADD_ROUTE = "-4 route add local default dev lo table 7776"
ADD_RULE = "-4 rule add priority 7776 fwmark 0x7776 lookup 7776"


def words(commands: list[tuple[str, ...]]) -> list[str]:
    return [" ".join(command) for command in commands]


@pytest.mark.parametrize(
    ("rules", "routes", "made", "removed"),
    [
        ([], [], [ADD_ROUTE, ADD_RULE], []),
        ([OURS], [], [ADD_ROUTE], [ADD_RULE]),
        ([], [OUR_ROUTE], [ADD_RULE], [ADD_ROUTE]),
        ([OURS], [OUR_ROUTE], [], [ADD_RULE, ADD_ROUTE]),
    ],
)
def test_what_is_missing_is_made_and_what_is_there_removed(
    rules: list[dict[str, object]], routes: list[dict[str, object]], made: list[str], removed: list[str]
) -> None:
    shown = json.dumps(USUAL_RULES + rules), json.dumps(routes)
    assert words(missing(IPV4, USUAL, *shown)) == made
    assert words(remaining(IPV4, USUAL, *shown)) == [text.replace(" add ", " del ") for text in removed]
    assert words(missing(IPV6, USUAL, *shown)) == [text.replace("-4", "-6") for text in made]


@pytest.mark.parametrize(
    ("rules", "routes"),
    [
        ([{"priority": 5, "fwmark": "0x7776", "table": "99"}], []),
        ([{"priority": 5, "fwmark": "0x76", "fwmask": "0xff", "table": "99"}], []),
        ([{"priority": 7776, "src": "all", "table": "99"}], []),
        ([{"priority": 5, "src": "all", "table": "7776"}], []),
        ([], [{"type": "1", "dst": "default", "dev": "eth0"}]),
        ([OURS], [OUR_ROUTE, {"type": "1", "dst": "10.0.0.0/8", "dev": "eth0"}]),
    ],
)
def test_others_numbers_are_left_alone(
    rules: list[dict[str, object]], routes: list[dict[str, object]]
) -> None:
    shown = json.dumps(USUAL_RULES + rules), json.dumps(routes)
    with pytest.raises(Conflict):
        missing(IPV4, USUAL, *shown)
    assert remaining(IPV4, USUAL, *shown) == []


def test_another_mark_is_no_conflict_and_nothing_shown_is_nothing_there() -> None:
    other = [{"priority": 5, "fwmark": "0x1", "fwmask": "0xff", "table": "99"}]
    assert words(missing(IPV4, USUAL, json.dumps(other), "")) == [ADD_ROUTE, ADD_RULE]
    with pytest.raises(ValueError, match="Expecting"):
        missing(IPV4, USUAL, "no JSON", "")
