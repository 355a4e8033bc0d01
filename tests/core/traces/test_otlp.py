"""OTLP is read as OpenTelemetry's own library writes it; and whatever else comes ends in one error."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from shim.core.traces.otlp import (
    ATTRIBUTES_LIMIT,
    FIELDS_LIMIT,
    KEY_LIMIT,
    NAME_LIMIT,
    TEXT_LIMIT,
    Decoder,
    count,
)
from shim.core.traces.span import KINDS, Span
from tests.builders import make_export, make_span

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
# Ids of zeros are none.
TRACES = st.binary(min_size=16, max_size=16).filter(any).map(bytes.hex)
IDS = st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex)
TIMES = st.integers(0, 2**64 - 1)
MAPS = st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=20)
SPANS = st.builds(
    Span,
    TRACES,
    IDS,
    st.just("") | IDS,
    TEXTS,
    st.sampled_from(KINDS),
    TIMES,
    TIMES,
    st.booleans(),
    MAPS,
    MAPS,
)


def read(body: bytes) -> list[Span]:
    return list(Decoder().spans(body))


@given(st.lists(SPANS, max_size=5))
def test_what_the_library_writes_is_read_back(spans: list[Span]) -> None:
    body = make_export(*spans)
    assert read(body) == spans
    assert count(body) == len(spans)


@given(
    st.binary() | st.tuples(st.lists(SPANS, min_size=1, max_size=2), st.binary(max_size=30), st.integers(0))
)
def test_any_bytes_are_spans_or_one_error(odd: bytes | tuple[list[Span], bytes, int]) -> None:
    body = odd
    if isinstance(odd, tuple):
        good = make_export(*odd[0])
        at = odd[2] % len(good)
        body = good[:at] + odd[1] + good[at + len(odd[1]) :]
    assert isinstance(body, bytes)
    try:
        number = count(body)
    except ValueError as error:
        assert len(str(error)) < 100
        return
    try:
        found = read(body)
    except ValueError:
        return
    assert len(found) <= number
    for span in found:
        json.dumps(span)
        assert len(span.trace) == 32 and len(span.id) == 16 and len(span.parent) in (0, 16)
        assert span.duration >= 0 and span.weight > 0 and len(span.title) <= 300
        assert span.status is None or 0 <= span.status < 1000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (AnyValue(bool_value=True), "true"),
        (AnyValue(bool_value=False), "false"),
        (AnyValue(int_value=-5), "-5"),
        (AnyValue(int_value=1 << 62), str(1 << 62)),
        (AnyValue(double_value=0.5), "0.5"),
        (AnyValue(string_value=""), ""),
        (AnyValue(), None),
        (AnyValue(bytes_value=b"x"), None),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)])), None),
    ],
)
def test_a_value_of_another_kind_is_a_text_or_left_out(value: AnyValue, shown: str | None) -> None:
    request = ExportTraceServiceRequest.FromString(make_export(make_span()))
    attributes = request.resource_spans[0].scope_spans[0].spans[0].attributes
    attributes.append(KeyValue(key="odd", value=value))
    (span,) = read(request.SerializeToString())
    assert span.attributes.get("odd") == shown


def test_a_span_without_ids_is_none() -> None:
    request = ExportTraceServiceRequest.FromString(make_export(make_span()))
    spans = request.resource_spans[0].scope_spans[0].spans
    spans.add(name="no ids")
    spans.add(trace_id=bytes(16), span_id=b"x" * 8)
    spans.add(trace_id=b"x" * 16, span_id=bytes(8))
    spans.add(trace_id=b"x" * 15, span_id=b"x" * 8)
    body = request.SerializeToString()
    assert (len(read(body)), count(body)) == (1, 5)


def test_what_clients_send_is_cut() -> None:
    many = {f"{'k' * 200}{number}": "v" * 5000 for number in range(100)}
    long = make_span(name="n" * 999)._replace(attributes=many | {"ü": "ü" * 2000})
    (span,) = read(make_export(long))
    assert len(span.attributes) <= ATTRIBUTES_LIMIT and len(span.name) == NAME_LIMIT
    assert all(len(key) <= KEY_LIMIT and len(text) == TEXT_LIMIT for key, text in span.attributes.items())
    (span,) = read(make_export(make_span(odd="ü" * 2000)))
    assert span.attributes["odd"] == "ü" * (TEXT_LIMIT - 1) + "…"


@pytest.mark.parametrize(
    "piece", [b"\x0a\x00", b"\x0a\x02\x12\x00", b"\x0a\x04\x12\x02\x12\x00", b"\x08\x00"]
)
def test_a_body_of_nothing_but_fields_is_refused_before_it_takes_long(piece: bytes) -> None:
    with pytest.raises(ValueError, match="too many fields"):
        count(piece * (FIELDS_LIMIT + 1))
    with pytest.raises(ValueError, match="too many fields"):
        read(piece * (FIELDS_LIMIT + 1))


@pytest.mark.parametrize(
    "body",
    [
        *[b"\x0a", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b", b"\x0f\x00"],
        *[b"\x09abc", b"\x0d\x00", b"\x08\x80", b"\x80", b"\x0a\x02\x0a\x01"],
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read(body)


def test_the_spans_of_a_service_share_one_resource() -> None:
    decoder = Decoder()
    first, second = (
        list(decoder.spans(make_export(make_span(), make_span(service="shop")))) for _ in range(2)
    )
    assert first[0].resource is second[0].resource
    assert first[1].resource is second[1].resource is not first[0].resource


def test_of_a_resource_that_is_too_large_for_envoy_nothing_is_kept() -> None:
    huge = make_span()._replace(resource={"service.name": "web", "padding": "x" * 5000})
    assert [span.resource for span in read(make_export(huge))] == [{}]


def test_a_span_is_reckoned_with_what_it_takes_of_memory() -> None:
    texts = {f"attribute.{number}": "x" * 40 for number in range(15)}
    bodies = [
        make_export(make_span(id=f"{number:016x}")._replace(attributes=texts)) for number in range(1, 501)
    ]
    decoder = Decoder()
    list(decoder.spans(bodies[0]))
    tracemalloc.start()
    try:
        spans = [span for body in bodies for span in decoder.spans(body)]
        taken = tracemalloc.get_traced_memory()[0] / len(spans)
    finally:
        tracemalloc.stop()
    assert taken == pytest.approx(spans[0].weight, rel=0.2)
