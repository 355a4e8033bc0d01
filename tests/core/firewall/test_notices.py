"""The kernel's notices, as bytes: whose they are, and that no bytes confuse us."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from shim.core.firewall.notices import mapping, touching, unrouting

OURS, OTHER = b"envoy_docker_shim", b"filter"
NEWGEN, DELTABLE, NEWSETELEM, NEWCHAIN, NEWRULE = 15, 2, 12, 3, 6
TYPE = 7


def notice(kind: int, port: int, table: bytes, family: int = 1, name: int = 1) -> bytes:
    attribute = struct.pack("=HH", 5 + len(table), name) + table + b"\0"
    attribute += b"\0" * (-len(attribute) % 4)
    body = struct.pack("=BBH", family, 0, 0) + attribute
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | kind, 0, 0, port) + body


def test_only_changes_of_our_table_count_and_all_in_one_datagram_do() -> None:
    data = notice(DELTABLE, 7, OURS) + notice(DELTABLE, 8, OTHER) + notice(NEWSETELEM, 9, OURS)
    assert touching(data) == {7, 9}
    assert touching(notice(DELTABLE, 7, OURS, family=2)) == set()
    assert touching(notice(DELTABLE, 7, OURS, name=2)) == set()
    assert touching(notice(NEWGEN, 7, OURS)) == set()
    assert touching(notice(DELTABLE, 7, OURS + b"_too")) == set()


def test_a_chain_that_maps_addresses_is_told_from_others() -> None:
    assert mapping(notice(NEWCHAIN, 7, b"nat", name=TYPE) + notice(NEWCHAIN, 8, b"filter", name=TYPE)) == {7}
    assert mapping(notice(NEWRULE, 7, b"nat", name=TYPE)) == set()
    assert mapping(notice(NEWCHAIN, 7, b"nat")) == set()


def routing(kind: int, port: int, length: int = 0, route_type: int = 2) -> bytes:
    return struct.pack("=IHHII8BI", 28, kind, 0, 0, port, 2, length, 0, 0, 252, 0, 0, route_type, 0)


def test_a_deleted_rule_or_way_back_is_told_from_new_ones_and_from_other_routes() -> None:
    new_rule, rule, new_route, route = 32, 33, 24, 25
    assert unrouting(b"".join(routing(kind, kind) for kind in (new_rule, rule, new_route, route))) == {33, 25}
    assert unrouting(routing(route, 7, length=32)) == set()
    assert unrouting(routing(route, 7, route_type=1)) == set()


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    touching(data)
    mapping(data)
    unrouting(data)


@given(st.integers(0, 11), st.integers(0, 255))
def test_a_broken_length_or_type_hides_at_most_what_it_breaks(at: int, value: int) -> None:
    data = bytearray(notice(DELTABLE, 7, OURS) + notice(DELTABLE, 8, OURS))
    data[at] = value
    assert touching(bytes(data)) <= {7, 8}
