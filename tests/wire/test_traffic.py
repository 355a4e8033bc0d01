"""A relay's line about its traffic: read as it was written, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.wire.traffic import COUNTED, FIELDS, LARGEST, traffic_in, traffic_line
from shim.wire.words import ORPHAN, PARKED, PARKING, RELEASE


@given(st.fixed_dictionaries(dict.fromkeys(FIELDS, st.integers(0, LARGEST))))
def test_it_is_read_as_it_was_written(numbers: dict[str, int]) -> None:
    assert traffic_in(traffic_line(numbers)) == numbers


@pytest.mark.parametrize(
    "numbers",
    [
        *("", "1", "1 2 3 4 5 6 7 8 9", "1 2 3 4 5 6 7 8 9 10 11", "1  3 4 5 6 7 8 9 10"),
        *(f"1 2 3 4 5 6 7 8 9 {last}" for last in ("x", "-1", "٣", "1.5", "9999999999999999999")),
    ],
)
def test_anything_else_is_none(numbers: str) -> None:
    assert traffic_in(f"{COUNTED} {numbers}") is None


def test_no_other_word_is_in_it_for_a_registrar_that_looks_for_those() -> None:
    line = traffic_line(dict.fromkeys(FIELDS, LARGEST))
    assert not [word for word in (RELEASE, ORPHAN, PARKED, PARKING) if word in line]
    assert len(line) < 4096  # PIPE_BUF: written whole or not at all
