"""What the firewall is told: which addresses count, and the text for it."""

import pytest
from hypothesis import given

from shim.core.binding import Address
from shim.core.firewall.listing import ListingError, parse, rules_of
from shim.core.firewall.script import CLEAR, delta, probe, whole
from shim.core.firewall.table import Keeping, Served, Table, served, served_of
from tests.core.firewall.tables import firewall_tables

ANY, ONE = Served("0.0.0.0", 80), Served("10.0.0.1", 80)
ANY6, ONE6 = Served("::", 80), Served("fd00::1", 80)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (Address("tcp", "0.0.0.0", 80), ANY),
        (Address("tcp", "10.0.0.1", 80), ONE),
        (Address("tcp", "::", 80), ANY6),
        (Address("tcp", "0:0::0", 80), ANY6),
        (Address("tcp", "FD00:0::1", 80), ONE6),
        (Address("udp", "0.0.0.0", 80), None),
        (Address("tcp", "127.0.0.1", 80), None),
        (Address("tcp", "127.9.9.9", 80), None),
        (Address("tcp", "::1", 80), None),
        (Address("tcp", "::ffff:10.0.0.1", 80), None),
        (Address("tcp", "fe80::1%eth0", 80), None),
        (Address("tcp", "", 80), None),
        (Address("tcp", "10.0.0.1 }; delete table inet filter", 80), None),
    ],
)
def test_only_tcp_addresses_that_the_network_reaches_are_in_the_table(
    address: Address, expected: Served | None
) -> None:
    assert served(address) == expected
    assert served_of([address]) == ({expected} - {None})


def test_an_address_that_is_not_served_is_not_kept() -> None:
    assert Table(frozenset([ANY]), {ANY: 9400, ONE: 9401}).kept() == {ANY: 9400}


def test_the_whole_table_replaces_whatever_is_there() -> None:
    text = whole(Table(frozenset([ANY, ONE, ANY6, ONE6])))
    assert text.startswith(CLEAR + "add table")
    for element in (
        "any4 { tcp . 80 }",
        "one4 { 10.0.0.1 . 80 }",
        "any6 { tcp . 80 }",
        "one6 { fd00::1 . 80 }",
    ):
        assert f"add element inet envoy_docker_shim {element}\n" in text
    assert whole(None) == CLEAR


def test_elements_of_one_set_are_one_command() -> None:
    text = whole(Table(frozenset(Served("0.0.0.0", port) for port in range(1000, 5000))))
    assert text.count("add element") == 1
    assert text.count("\n") < 40


@pytest.mark.parametrize(
    ("table", "output", "reused", "conditions"),
    [
        (Table(), 0, 0, 4),
        (Table(local=True), 4, 4, 4),
        (Table(fail_open=False), 4, 0, 0),
        (Table(local=True, fail_open=False), 4, 0, 0),
    ],
)
def test_what_asks_for_a_socket_and_what_is_there_only_with_an_envoy(
    table: Table, output: int, reused: int, conditions: int
) -> None:
    text = whole(table)
    rules = rules_of(text)
    assert (rules["output"], rules["reused_source_port"]) == (output, reused)
    assert text.count("socket wildcard <= 1") == conditions


def test_rules_for_client_addresses_are_there_only_where_one_is_kept() -> None:
    assert "tproxy" not in whole(Table(frozenset([ANY]), {ONE: 9400}))
    text = whole(Table(frozenset([ANY]), {ANY: 9400}, keeping=Keeping(mark=0x99, inner=("lo", "bridge7"))))
    assert 'iifname { "lo", "bridge7" } socket transparent 1 meta mark set 0x99\n' in text
    assert "add element inet envoy_docker_shim keep_any4 { tcp . 80 : 9400 }\n" in text


def test_a_change_names_only_what_changed() -> None:
    old = Table(frozenset([ANY, ONE]), {ANY: 9400, ONE: 9401})
    assert delta(old, old) == ""
    assert delta(old, old._replace(served=frozenset([ANY, ONE, ONE6]))) == (
        "add element inet envoy_docker_shim one6 { fd00::1 . 80 }\n"
    )
    assert delta(old, old._replace(keep={ANY: 9402, ONE: 9401})) == (
        "delete element inet envoy_docker_shim keep_any4 { tcp . 80 : 9400 }\n"
        "add element inet envoy_docker_shim keep_any4 { tcp . 80 : 9402 }\n"
    )
    # What is no longer served is no longer kept.
    assert delta(old, old._replace(served=frozenset([ANY]))) == (
        "delete element inet envoy_docker_shim keep_one4 { 10.0.0.1 . 80 : 9401 }\n"
        "delete element inet envoy_docker_shim one4 { 10.0.0.1 . 80 }\n"
    )


@pytest.mark.parametrize(
    "new",
    [
        Table(frozenset([ANY]), {ANY: 9400}, fail_open=False),
        Table(frozenset([ANY]), {}),
        Table(frozenset([ONE]), {ANY: 9400}),
        Table(frozenset([ANY]), {ANY: 9400}, keeping=Keeping(mark=1)),
    ],
)
def test_other_rules_need_the_whole_table(new: Table) -> None:
    old = Table(frozenset([ANY]), {ANY: 9400})
    assert delta(old, new) is None
    assert delta(new, old) is None


def test_the_probe_uses_all_that_a_table_may() -> None:
    text = probe(keep=False)
    assert "socket wildcard" in text
    assert "socket transparent <=" in text
    assert "tproxy" not in text
    assert "tproxy" in probe(keep=True)


@given(firewall_tables(), firewall_tables())
def test_a_change_has_no_element_twice_and_no_word_from_elsewhere(old: Table, new: Table) -> None:
    text = delta(old, new)
    if text is None:
        return
    lines = text.splitlines()
    commands = [line.partition("{")[0] for line in lines if "element" in line]
    assert len(commands) == len(set(commands))
    assert all(line.split()[2:4] == ["inet", "envoy_docker_shim"] for line in lines)
    assert (text == "") == (
        (old.served, old.kept(), old.takes_local) == (new.served, new.kept(), new.takes_local)
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"nftables": [{"set": {"elem": [1]}}]}', '{"nftables": 7}']
)
def test_what_is_no_listing_is_refused(text: str) -> None:
    with pytest.raises(ListingError):
        parse(text)
