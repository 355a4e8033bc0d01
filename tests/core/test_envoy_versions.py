"""Envoys' versions: read from what they say of themselves, whatever that is, and compared as numbers."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.envoy_versions import OLDEST, is_too_old, parse_version

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["version", "major_number", "minor_number", "patch"]), inner)
    ),
)


def test_a_zero_is_left_out_by_envoy() -> None:
    assert parse_version({"version": {"major_number": 1, "minor_number": 40}}) == "1.40.0"
    assert parse_version({"version": {"major_number": 1, "minor_number": 36, "patch": 4}}) == "1.36.4"


@given(JSON)
def test_whatever_it_says_is_a_version_or_none(said: Any) -> None:
    assert re.fullmatch(r"(\d{1,6}\.\d{1,6}\.\d{1,6})?", parse_version(said))


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("1.36.4", True),
        ("1.9.0", True),
        ("0.40.0", True),
        ("", False),
        (f"{OLDEST}.0", False),
        ("2.0.0", False),
    ],
)
def test_what_is_older_than_the_oldest_is_too_old(version: str, old: bool) -> None:
    assert is_too_old(version) == old
