"""What a whole run of the tests says, of what its parts said."""

import pytest

from tests.harness.whole_run import NOTHING_COLLECTED, SKIPPED, verdict

A, B = "tests/a.py::test_a", "tests/b.py::test_b"


@pytest.mark.parametrize(
    ("codes", "first", "again", "code"),
    [
        ([0, 0], set(), set(), 0),
        ([0, NOTHING_COLLECTED], set(), set(), 0),
        ([1, 0], {A}, set(), 0),
        ([1, 1], {A, B}, {B}, 1),
        ([1, 0], {A}, {A}, 1),
        ([1, 0], set(), set(), 1),
        ([SKIPPED, 0], set(), set(), SKIPPED),
        ([1, SKIPPED], {A}, set(), SKIPPED),
        ([2, 0], {A}, set(), 2),
        ([4, NOTHING_COLLECTED], set(), set(), 4),
    ],
)
def test_what_failed_twice_fails_the_run_and_what_failed_once_is_named(
    codes: list[int], first: set[str], again: set[str], code: int
) -> None:
    said = verdict(codes, first, again)
    assert said[0] == code
    if code < 2 and first:
        assert {line.rpartition(": ")[2] for line in said[1]} == first
        assert {line for line in said[1] if line.startswith("failed: ")} == {
            f"failed: {name}" for name in again
        }
