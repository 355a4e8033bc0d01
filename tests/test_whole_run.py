"""What a whole run of the tests says, of what its parts said."""

import re

import pytest

from tests.harness.whole_run import NOTHING_COLLECTED, ROOT, SKIPPED, verdict, with_tests_that_run_alone

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


def test_the_mark_of_what_runs_alone_is_given_in_the_files_of_the_tests_only() -> None:
    """They are found by its text: from anywhere else it would be given unseen, and its tests never run."""
    mark = re.compile(r"mark\.alone|add_marker")
    named = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("*.py")
        if mark.search(file.read_text())
    }
    assert named - {"tests/harness/whole_run.py", "tests/test_whole_run.py"} == {*with_tests_that_run_alone()}
    assert "tests/soak/test_soak.py" in named
