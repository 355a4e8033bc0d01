"""What may become of a packet, by rules as nft and iptables-save print them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.ruleset import iptables_rules, nft_rules
from shim.core.ruleset.chains import DNAT, MASQUERADE, Packet, Table, dropping, possible

FROM_NETWORK = Packet(4, iif="eth0", port=8080)


def nft(*rules: list[Any], policy: str = "accept", family: str = "inet", **more: Any) -> list[Table]:
    """An input chain with these rules, and ``more`` chains or sets of the same table."""
    at = {"family": family, "table": "t"}
    objects: list[Any] = [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": family, "name": "t"}}]
    base = {"hook": "input", "type": "filter", "prio": 0, "policy": policy}
    objects.append({"chain": {**at, "name": "input", **base}})
    objects += [{"rule": {**at, "chain": "input", "expr": rule}} for rule in rules]
    for name, content in more.items():
        if content and isinstance(content[0], list):
            objects.append({"chain": {**at, "name": name}})
            objects += [{"rule": {**at, "chain": name, "expr": rule}} for rule in content]
        else:
            objects.append({"set": {**at, "name": name, "elem": content}})
    return nft_rules.parse(json.dumps({"nftables": objects}))


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def field(protocol: str, name: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": name}}, right, op)


def dport(right: Any, op: str = "==") -> dict[str, Any]:
    return field("tcp", "dport", right, op)


DROP, ACCEPT, RETURN = {"drop": None}, {"accept": None}, {"return": None}
RANGE = {"set": [22, {"range": [8000, 8100]}]}
STATE = {"ct": {"key": "state"}}


def is_dropped(tables: list[Table], packet: Packet = FROM_NETWORK) -> bool:
    return dropping(tables, "input", packet) is not None


@pytest.mark.parametrize(
    ("rules", "policy", "dropped"),
    [
        ([], "accept", False),
        ([], "drop", True),
        ([[dport(8080), DROP]], "accept", True),
        ([[dport(8081), DROP]], "accept", False),
        ([[dport(RANGE), ACCEPT]], "drop", False),
        ([[dport(RANGE, "!="), {"reject": {"type": "tcp reset"}}]], "accept", False),
        ([[dport("@open"), ACCEPT]], "drop", False),
        ([[dport("@shut"), ACCEPT]], "drop", True),
        ([[meta("iifname", "lo"), ACCEPT]], "drop", True),
        ([[meta("iifname", {"set": ["lo", "eth*"]}), ACCEPT]], "drop", False),
        ([[meta("iif", "lo", "!="), DROP]], "accept", True),
        ([[meta("l4proto", "tcp"), {"counter": {}}, DROP]], "accept", True),
        ([[meta("l4proto", "udp"), DROP]], "accept", False),
        ([[meta("nfproto", "ipv6"), DROP]], "accept", False),
        ([[field("th", "dport", 8080), DROP]], "accept", True),
        ([[field("udp", "dport", 8080), DROP]], "accept", False),
        ([[match(STATE, ["established", "related"], "in"), ACCEPT]], "drop", True),
        ([[match(STATE, ["new"], "in"), ACCEPT]], "drop", False),
        # Who is let in depends on who asks: nobody is dropped for certain.
        ([[field("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}), ACCEPT]], "drop", False),
        ([[field("ip", "saddr", {"prefix": {"addr": "0.0.0.0", "len": 0}}), ACCEPT]], "drop", False),
        ([[field("ip6", "saddr", "fd00::1"), ACCEPT]], "drop", True),
        ([[{"limit": {"rate": 5, "per": "second"}}, ACCEPT]], "drop", False),
        ([[{"xt": {"type": "match", "name": "conntrack"}}, DROP]], "accept", False),
        ([[{"xt": None}, ACCEPT]], "drop", False),
        ([[{"jump": {"target": "web"}}]], "drop", False),
        ([[{"goto": {"target": "ssh"}}], [ACCEPT]], "drop", True),
        ([[{"jump": {"target": "ssh"}}], [ACCEPT]], "drop", False),
        ([[{"jump": {"target": "back"}}], [DROP]], "accept", True),
        ([[{"jump": {"target": "loop"}}]], "drop", True),
        ([[{"log": {"prefix": "x"}}], [DROP]], "accept", True),
        ([[{"queue": {"num": 0}}]], "drop", False),
        ([[dport(8080), DROP], [ACCEPT]], "accept", True),
    ],
)
def test_a_packet_from_the_network(rules: list[Any], policy: str, dropped: bool) -> None:
    chains = {"web": [[dport(8080), ACCEPT]], "ssh": [[dport(22), ACCEPT]], "back": [[RETURN], [ACCEPT]]}
    sets = {"open": [{"elem": {"val": 8080}}], "shut": [80]}
    more: dict[str, Any] = {**chains, **sets, "loop": [[{"jump": {"target": "loop"}}]]}
    tables = nft(*rules, policy=policy, **more)
    assert is_dropped(tables) is dropped


def test_a_map_of_verdicts_is_looked_up_by_what_is_known() -> None:
    def mapped(*pairs: list[Any], key: Any = STATE) -> list[Any]:
        return [{"vmap": {"key": key, "data": {"set": list(pairs)}}}]

    states = mapped(["established", {"accept": None}], ["invalid", {"drop": None}])
    assert is_dropped(nft(states, policy="drop"))
    assert not is_dropped(nft(states, policy="accept"))
    ports = mapped(
        [8080, {"jump": {"target": "web"}}], key={"payload": {"protocol": "tcp", "field": "dport"}}
    )
    assert not is_dropped(nft(ports, policy="drop", web=[[ACCEPT]]))
    assert is_dropped(nft(mapped([["tcp", 80], {"drop": None}], key={"concat": []}), policy="drop"))
    assert not is_dropped(nft(mapped([["tcp", 80], {"accept": None}], key={"concat": []}), policy="drop"))


def test_a_table_sees_the_packets_of_its_family() -> None:
    tables = nft([DROP], family="ip6")
    assert not is_dropped(tables)
    assert dropping(tables, "input", FROM_NETWORK._replace(version=6)) == ("ip6 t", "input")


SAVED = """\
# Generated by iptables-save v1.8.9 (nf_tables) on Wed Nov 25 23:54:58 2026
*filter
:INPUT {policy} [0:0]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:web - [0:0]
{rules}
-A FORWARD -j DOCKER-USER
-A FORWARD -m set --match-set docker-ext-bridges-v4 dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-USER -m comment --comment "it's \\"-j DROP\\" here" -j RETURN
-A web -s 10.0.0.0/8 -j ACCEPT
-A web -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER -d 10.0.0.5/32 ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A DOCKER ! -i docker0 -p udp -m udp --dport 53 -j DNAT --to-destination 172.17.0.3:5353
COMMIT
# Completed
"""


def saved(rules: str = "", policy: str = "ACCEPT") -> str:
    return SAVED.replace("{policy}", policy).replace("{rules}", rules)


@pytest.mark.parametrize(
    ("rule", "policy", "dropped"),
    [
        ("-A INPUT -p tcp -m tcp --dport 8080 -j DROP", "ACCEPT", True),
        ("-A INPUT -p tcp -m tcp ! --dport 8080 -j DROP", "ACCEPT", False),
        ("-A INPUT -p udp -m udp --dport 8080 -j DROP", "ACCEPT", False),
        ("-A INPUT -p tcp -m multiport --dports 80,8000:8100 -j ACCEPT", "DROP", False),
        ("-A INPUT -i lo -j ACCEPT", "DROP", True),
        ("-A INPUT -i eth+ -j ACCEPT", "DROP", False),
        ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "DROP", True),
        ("-A INPUT -m conntrack ! --ctstate INVALID -j ACCEPT", "DROP", False),
        ("-A INPUT -p tcp --dport 8080 -m limit --limit 5/min -j ACCEPT", "DROP", False),
        ("-A INPUT -j web", "DROP", False),
        ("-A INPUT -j LOG --log-prefix dropped", "DROP", True),
        ("-A INPUT -j NFQUEUE", "DROP", False),
        ("-A INPUT -g web", "DROP", False),
    ],
)
def test_a_packet_and_iptables(rule: str, policy: str, dropped: bool) -> None:
    assert is_dropped(iptables_rules.parse(saved(rule, policy), 4)) is dropped


def test_what_containers_send_out() -> None:
    tables = iptables_rules.parse(saved(), 4)
    out = Packet(4, iif="docker0", oif="eth0", source="172.17.0.9", port=443)
    assert dropping(tables, "forward", out) is None
    assert possible(tables, "postrouting", out) == {MASQUERADE}
    other = out._replace(iif="br-1", source="10.1.0.9")
    assert MASQUERADE not in possible(tables, "postrouting", other)
    assert dropping(tables, "forward", other) == ("ip filter", "FORWARD")
    # A rule with a set, which nobody here can look into, may accept it.
    tables = iptables_rules.parse(saved().replace("--ctstate RELATED,ESTABLISHED", "--ctstate NEW"), 4)
    assert dropping(tables, "forward", other) is None


def test_ports_that_are_led_elsewhere() -> None:
    first, second = iptables_rules.mapped(saved(), 4)
    assert (first.proto, first.ip, first.port, first.to) == ("tcp", "10.0.0.5", 8080, "172.17.0.2:80")
    assert (second.proto, second.ip, second.port, second.to) == ("udp", "", 53, "172.17.0.3:5353")
    assert second.line.startswith("-A DOCKER ")
    (table,) = [t for t in iptables_rules.parse(saved(), 4) if t.name == "ip nat"]
    assert {rule.verdict for rule in table.chains["DOCKER"].rules} >= {DNAT}


@given(st.text())
def test_any_text_is_rules_or_an_error(text: str) -> None:
    iptables_rules.parse(saved(f"-A INPUT {text}"), 4)
    iptables_rules.mapped(text, 6)
    try:
        nft_rules.parse(text)
    except nft_rules.RulesetError:
        pass


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=9)
    | st.sampled_from(["tcp", "@open", "drop"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["match", "vmap", "jump", "xt", "set", "drop", "accept", "limit", "ct", "counter"])


@given(st.lists(st.dictionaries(KINDS, JSON, min_size=1, max_size=1), max_size=4), st.sampled_from([4, 6]))
def test_any_statement_is_a_rule_or_an_error(rule: list[Any], version: int) -> None:
    try:
        tables = nft(rule)
    except nft_rules.RulesetError:
        return
    dropping(tables, "input", FROM_NETWORK._replace(version=version))
