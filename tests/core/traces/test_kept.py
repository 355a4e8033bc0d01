"""The last spans and their traces: within their bounds, and what is told of them is true of what is kept."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.traces.kept import KeptSpans, as_tree
from shim.core.traces.span import Span
from tests.builders import make_span

IDS = st.integers(1, 6).map(lambda n: f"{n:016x}")
SPANS = st.builds(
    make_span,
    trace=st.integers(1, 4).map(lambda n: f"{n:032x}"),
    id=IDS,
    parent=st.just("") | IDS,
    start=st.integers(0, 9),
    end=st.integers(0, 9),
    service=st.sampled_from(["web", "shop"]),
    status=st.sampled_from([200, 404, 0, None]),
    error=st.booleans(),
    text=st.text(max_size=200),
)


@given(st.lists(SPANS, max_size=60), st.integers(1, 20), st.integers(1, 20_000))
def test_the_last_spans_are_kept_and_no_more(spans: list[Span], limit: int, size: int) -> None:
    kept = KeptSpans(limit, size)
    for span in spans:
        kept.add(span)
    last: list[Span] = []
    for span in reversed(spans):
        if len(last) == limit or sum(s.weight for s in (*last, span)) > size:
            break
        last.insert(0, span)
    assert len(kept) == len(last)
    for service, errors in (
        ("", False),
        ("web", False),
        ("shop/dev", True),
        ("web-1", True),
        ("none", False),
    ):
        wanted: dict[str, list[Span]] = {}
        for span in last:
            wanted.setdefault(span.trace, []).append(span)
        wanted = {
            trace: of
            for trace, of in wanted.items()
            if any(not service or span.is_of(service) for span in of)
            and (not errors or any(span.failed for span in of))
        }
        found = kept.traces(100, service, errors)
        assert {trace.root.trace: trace.spans for trace in found} == wanted
        assert [trace.start for trace in found] == sorted((trace.start for trace in found), reverse=True)
        assert kept.traces(1, service, errors) == found[:1]
    for span in spans:
        trace = kept.trace(span.trace)
        assert (trace is not None) == any(s.trace == span.trace for s in last)


@given(st.lists(SPANS, min_size=1, max_size=12))
def test_a_tree_has_every_span_once_and_parents_before_their_children(spans: list[Span]) -> None:
    found = list(as_tree(spans))
    assert sorted(map(id, spans)) == sorted(id(span) for _, span in found)
    assert found[0][0] == 0
    for (above, _), (depth, _) in pairwise(found):
        assert depth <= above + 1


def test_a_tree_is_in_the_order_of_time_under_each_parent() -> None:
    root, first, second, inner = (f"{n:016x}" for n in range(1, 5))
    spans = [
        make_span(id=second, parent=root, start=5),
        make_span(id=inner, parent=first, start=6),
        make_span(id=first, parent=root, start=2),
        make_span(id=root, parent="f" * 16, start=1),
    ]
    assert [(depth, span.id) for depth, span in as_tree(spans)] == [
        (0, root),
        (1, first),
        (2, inner),
        (1, second),
    ]


def test_a_chain_as_long_as_a_client_likes_is_no_recursion() -> None:
    chain = [make_span(id=f"{n + 1:016x}", parent=f"{n:016x}", start=n) for n in range(5000)]
    assert [depth for depth, _ in as_tree(reversed(chain))] == list(range(5000))


def test_spans_that_share_ids_take_no_longer_than_others() -> None:
    """Each of 20,000 would go through 10,000 children."""
    twins = [
        make_span(id=f"{n % 2 + 1:016x}", parent="1".zfill(16) if n % 2 else "", start=n)
        for n in range(20_000)
    ]
    assert len(list(as_tree(twins))) == len(twins)


def test_a_trace_is_named_by_its_first_span_without_a_parent_here() -> None:
    kept = KeptSpans(10)
    kept.add(make_span(id="2" * 16, parent="1" * 16, start=3, end=4, service="shop", status=500))
    kept.add(make_span(id="1" * 16, parent="f" * 16, start=2, end=6, service="web"))
    (trace,) = kept.traces(10)
    assert (trace.root.service, trace.start, trace.end) == ("web", 2_000_000, 6_000_000)
    assert (trace.services, trace.failed) == (["shop", "web"], True)


@pytest.mark.parametrize(
    ("span", "failed"),
    [
        (make_span(status=200), False),
        (make_span(status=399), False),
        (make_span(status=404), True),
        (make_span(status=0), True),
        (make_span(status=None), False),
        (make_span(status=200, error=True), True),
    ],
)
def test_what_failed_is_what_logs_calls_so(span: Span, failed: bool) -> None:
    assert span.failed is failed


@pytest.mark.parametrize(
    ("attributes", "title"),
    [
        ({"http.url": "http://demo/a?b=c"}, "GET demo/a?b=c"),
        ({"url.full": "https://demo/"}, "GET demo/"),
        ({"http.url": "/odd"}, "GET /odd"),
        ({}, "GET"),
    ],
)
def test_a_span_is_called_by_what_was_asked_for(attributes: dict[str, str], title: str) -> None:
    assert make_span()._replace(attributes=attributes).title == title
