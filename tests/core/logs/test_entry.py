"""A line of the access log as a person reads it; and any JSON at all in its place."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shim.core.envoy.access_log import FIELDS
from shim.core.envoy.tracing import ATTRIBUTES
from shim.core.logs.entry import Shape, failed, is_of, parse

HTTP: dict[str, Any] = {
    "time": "2026-11-25T23:56:52.114Z",
    "service.name": "web",
    "deployment.environment.name": "dev",
    "container.name": "web-1",
    "client.address": "10.3.4.120",
    "http.request.method": "GET",
    "server.address": "shop.example",
    "url.path": "/cart",
    "url.query": "id=7",
    "http.response.status_code": 200,
    "http.response.body.size": 1390,
    "duration_ms": 12,
    "response_flags": "-",
    "response_details": "via_upstream",
}
TCP: dict[str, Any] = {
    "time": "2026-11-25T23:56:52.114Z",
    "service.name": "db",
    "client.address": "10.0.0.9",
    "server.port": 5432,
    "bytes.received": 517,
    "bytes.sent": 23_000_000,
    "duration_ms": 754_000,
    "response_flags": "-",
}
REFUSED = {"response_flags": "UF,URX", "upstream.failure": "delayed_connect_error:_Connection_refused"}
TLS = {"tls.client.server_name": "shop.example", "tls.next_protocol": "h2"}

NAMES = st.sampled_from([*(field.name for field in FIELDS), *ATTRIBUTES])
VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just([{}])
)


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (HTTP, "web/dev               10.3.4.120       200    12 ms   1.4 kB  GET shop.example/cart?id=7"),
        (
            {**HTTP, "http.response.status_code": 503, "response_flags": "UF", "trace_id": "0af7"},
            "web/dev               10.3.4.120       503    12 ms   1.4 kB  GET shop.example/cart?id=7"
            "  UF: via upstream  0af7",
        ),
        (TCP, "db                    10.0.0.9         tcp    754 s    23 MB  port 5432, 517 B received"),
        (
            {**TCP, **TLS},
            "db                    10.0.0.9         tls    754 s    23 MB"
            "  port 5432, 517 B received, shop.example, h2",
        ),
        (
            {**TCP, **REFUSED},
            "db                    10.0.0.9         tcp    754 s    23 MB"
            "  port 5432, 517 B received  UF,URX: delayed connect error: Connection refused",
        ),
    ],
)
def test_a_line_is_aligned_and_says_what_went_wrong(entry: dict[str, Any], shown: str) -> None:
    assert Shape(lambda text: text[:10]).line(entry) == f"2026-11-25  {shown}"


@pytest.mark.parametrize(("status", "colour"), [(200, 32), (304, 36), (404, 33), (500, 31), (0, 31)])
def test_colours_are_for_terminals_only(status: int, colour: int) -> None:
    entry = {**HTTP, "http.response.status_code": status}
    assert f"\x1b[{colour}m{status:>3}\x1b[0m" in Shape(str, True).line(entry)
    assert "\x1b" not in Shape(str, False).line(entry)


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({}, False),
        ({"http.response.status_code": 399}, False),
        ({"http.response.status_code": 400}, True),
        ({"http.response.status_code": 503}, True),
        ({"http.response.status_code": 0, "response_flags": "DC"}, True),
    ],
)
def test_an_answer_from_400_on_or_none_at_all_is_an_error(change: dict[str, Any], bad: bool) -> None:
    assert failed({**HTTP, **change}) is bad


def test_a_connection_is_an_error_where_envoy_has_a_word_for_it() -> None:
    assert (failed(TCP), failed({**TCP, **REFUSED})) == (False, True)


@pytest.mark.parametrize(
    ("name", "yes"), [("web", True), ("web/dev", True), ("web-1", True), ("we", False), ("/dev", False)]
)
def test_a_line_is_of_its_service_and_of_its_container(name: str, yes: bool) -> None:
    assert is_of(HTTP, name) is yes


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[2026-11-25 23:53:57.440][30943][info] starting",
        b'{"time": "2026',
        b"{}",
        b'{"time": "x"}',
        b"[1]",
        b"{" * 100_000,
        b'{"time":' + b"[" * 100_000,
        b'{"duration_ms": 1, "time": "\xff"}',
    ],
)
def test_what_is_no_line_of_the_access_log_is_none(line: bytes) -> None:
    assert parse(line) is None


@given(st.dictionaries(NAMES, VALUES))
@example({"url.path": "\x1b[2J\n\u202e\x00\ud800"})
@example({"duration_ms": 1e308, "http.response.status_code": float("nan"), "bytes.sent": 1 << 70})
def test_whatever_a_line_holds_it_is_shown_as_one_printable_line(entry: dict[str, Any]) -> None:
    read = parse(json.dumps({"time": "", "duration_ms": 0, **entry}).encode())
    assert read is not None
    for shape in (Shape(str), Shape(lambda text: text)):
        line = shape.line(read)
        assert line.isprintable() and len(line) < 5000
    failed(read)
