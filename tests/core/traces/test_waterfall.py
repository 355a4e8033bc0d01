"""Traces in a terminal: what the API answers, and any JSON at all in its place."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shim.core.traces.waterfall import Drawing, duration

SUMMARY: dict[str, Any] = {
    "id": "0af7651916cd43dd8448eb211c80319c",
    "service": "web",
    "environment": "dev",
    "name": "GET demo/cart?id=7",
    "started": "2026-11-25T23:56:52.114000+00:00",
    "duration_ms": 12.3456,
    "status": 200,
    "error": False,
    "spans": 2,
}
FRONT: dict[str, Any] = {
    "depth": 0,
    "service": "web",
    "environment": "dev",
    "name": "GET demo/cart",
    "status": 200,
    "offset_ms": 0.0,
    "duration_ms": 8.0,
    "error": False,
}
SHOP = FRONT | {"depth": 1, "service": "shop", "name": "GET shop/\x1b[2J", "offset_ms": 2.0}
SHOP |= {"duration_ms": 4.0, "status": 503, "error": True}
ESCAPED = r"GET shop/\x1b[2J"
TRACE: dict[str, Any] = {
    "id": "0af7",
    "started": "then",
    "duration_ms": 8.0,
    "left_out": 3,
    "spans": [FRONT, SHOP],
}
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FRONT, *TRACE]), inner),
    max_leaves=10,
)


def test_a_trace_is_a_line() -> None:
    assert Drawing(lambda text: text[:19]).line(SUMMARY) == (
        "2026-11-25T23:56:52  0af7651916cd43dd8448eb211c80319c  web/dev                   200     12 ms"
        "   2 spans  GET demo/cart?id=7"
    )


def test_its_spans_are_under_their_parents_beside_their_time() -> None:
    assert list(Drawing(str).trace(TRACE)) == [
        "trace 0af7  then  8.00 ms, 5 spans, 2 services",
        f"{'web/dev':24}  {'GET demo/cart':32}  200   8.00 ms  |{'=' * 40}|",
        f"{'  shop/dev':24}  {ESCAPED:32}  503   4.00 ms  |{' ' * 10}{'=' * 20}{' ' * 10}|",
        "and 3 more",
    ]


def test_colours_are_for_a_terminal() -> None:
    lines = list(Drawing(str, colours=True).trace(TRACE))
    assert "\x1b[32m===" in lines[1] and "\x1b[31m===" in lines[2] and "\x1b[31m503\x1b[0m" in lines[2]


@given(
    st.dictionaries(st.sampled_from([*SUMMARY, *TRACE]), VALUES),
    st.lists(st.dictionaries(st.sampled_from([*FRONT]), VALUES), max_size=3),
)
def test_whatever_it_says_is_printable_lines(odd: dict[str, Any], spans: list[Any]) -> None:
    drawing = Drawing(str)
    lines = [drawing.line(odd), *drawing.trace(odd), *drawing.trace({**odd, "spans": spans})]
    assert all(line.isprintable() for line in lines)


def test_times_are_told_as_finely_as_they_matter() -> None:
    assert [duration(ms) for ms in (0.04, 9.994, 12.3, 9999.0, 10_400.0)] == [
        "0.04 ms",
        "9.99 ms",
        "12 ms",
        "9999 ms",
        "10 s",
    ]
