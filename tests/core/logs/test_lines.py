"""Lines out of pieces: whatever the pieces, the lines are those of the whole."""

from hypothesis import given
from hypothesis import strategies as st

from shim.core.logs.lines import LINE_LIMIT, Lines


@given(st.lists(st.text("a\n", max_size=9).map(str.encode)))
def test_the_lines_are_those_of_the_whole_however_it_is_cut(pieces: list[bytes]) -> None:
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)]
    assert found == b"".join(pieces).split(b"\n")[:-1]


def test_a_line_that_is_too_long_is_left_out_and_nothing_of_it_is_kept() -> None:
    lines = Lines()
    fed = [list(lines.feed(piece)) for piece in (b"a\n" + b"x" * LINE_LIMIT, b"x" * 9, b"x\nb\n")]
    assert fed == [[b"a"], [], [b"b"]]
    assert list(lines.feed(b"x" * (LINE_LIMIT + 1) + b"\nc\n")) == [b"c"]
