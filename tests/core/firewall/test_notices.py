"""The kernel's notices, as bytes: whose they are, and that no bytes confuse us."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from shim.core.firewall.notices import deleting_rules, touching

OURS, OTHER = b"envoy_docker_shim", b"filter"
NEWGEN, DELTABLE, NEWSETELEM = 15, 2, 12


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


def test_a_deleted_routing_rule_is_told_from_a_new_one() -> None:
    gone, new = (struct.pack("=IHHII", 28, kind, 0, 0, kind) + b"\0" * 12 for kind in (33, 32))
    assert deleting_rules(gone + new) == {33}


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    touching(data)
    deleting_rules(data)


@given(st.integers(0, 11), st.integers(0, 255))
def test_a_broken_length_or_type_hides_at_most_what_it_breaks(at: int, value: int) -> None:
    data = bytearray(notice(DELTABLE, 7, OURS) + notice(DELTABLE, 8, OURS))
    data[at] = value
    assert touching(bytes(data)) <= {7, 8}
