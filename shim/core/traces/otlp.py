"""Spans out of OTLP: the body of POST /v1/traces in binary Protocol Buffers.

Field numbers are those of opentelemetry-proto 1.x, which never change:
opentelemetry/proto/collector/trace/v1/trace_service.proto (ExportTraceServiceRequest), trace/v1/trace.proto
(ResourceSpans, ScopeSpans, Span, Status), resource/v1/resource.proto (Resource), common/v1/common.proto
(KeyValue, AnyValue).  Only what is shown is read: no events, links, scopes, flags or trace states.

What clients of a service send is in spans (their URL, their User-Agent), so every text and number is bounded.
"""

import struct
import sys
from collections.abc import Iterator, Mapping

from shim.core.traces.span import KINDS, Span
from shim.core.traces.wire import FIXED64, LENGTH, VARINT, Message

# Fields of a request.  Envoy 1.40's span has some 80 in 500 bytes or more, and a body 256 kB at most.
FIELDS_LIMIT = 1 << 16
# Of a span, and of a resource; characters of one.  Envoy's span has 15 attributes, its path 256 characters.
ATTRIBUTES_LIMIT, KEY_LIMIT, TEXT_LIMIT, NAME_LIMIT = 64, 128, 1024, 256
# Resources that are remembered, and bytes of one: there is one a service, of some 500.
RESOURCES_LIMIT, RESOURCE_BYTES = 1024, 4096

# Tags.
RESOURCE_SPANS = 1 << 3 | LENGTH  # of ExportTraceServiceRequest
RESOURCE, SCOPE_SPANS = 1 << 3 | LENGTH, 2 << 3 | LENGTH  # of ResourceSpans
SPANS = 2 << 3 | LENGTH  # of ScopeSpans
RESOURCE_ATTRIBUTES = 1 << 3 | LENGTH  # of Resource
TRACE_ID, SPAN_ID, PARENT_ID, NAME = (number << 3 | LENGTH for number in (1, 2, 4, 5))  # of Span
KIND, ATTRIBUTES, STATUS = 6 << 3 | VARINT, 9 << 3 | LENGTH, 15 << 3 | LENGTH
START, END = 7 << 3 | FIXED64, 8 << 3 | FIXED64
CODE, ERROR = 3 << 3 | VARINT, 2  # of Status, and STATUS_CODE_ERROR
KEY, VALUE = 1 << 3 | LENGTH, 2 << 3 | LENGTH  # of KeyValue
STRING, BOOL, INT, DOUBLE = 1 << 3 | LENGTH, 2 << 3 | VARINT, 3 << 3 | VARINT, 4 << 3 | FIXED64  # of AnyValue

NO_TRACE, NO_SPAN = bytes(16), bytes(8)


def count(body: bytes) -> int:
    """How many spans there are in a request.  Raises ValueError where it is none."""
    message = Message(body, FIELDS_LIMIT)
    return sum(1 for _, scopes in _groups(message) for _ in _spans(message, scopes))


class Decoder:
    """Remembers the resources that it has seen: all spans of a service share one."""

    def __init__(self) -> None:
        self._resources: dict[bytes, Mapping[str, str]] = {}

    def spans(self, body: bytes) -> Iterator[Span]:
        """The spans of a request, but for those whose ids are none.  Raises ValueError."""
        message = Message(body, FIELDS_LIMIT)
        for resource, scopes in _groups(message):
            described = self._resource(message, *resource)
            for start, stop in _spans(message, scopes):
                span = _span(message, start, stop, described)
                if span is not None:
                    yield span

    def _resource(self, message: Message, start: int, stop: int) -> Mapping[str, str]:
        raw = message.data[start:stop]
        if (known := self._resources.get(raw)) is not None:
            return known
        found: dict[str, str] = {}
        if len(raw) > RESOURCE_BYTES:
            return found  # none of Envoy's: who sent it is not told, and nothing of it is kept
        for tag, a, b in message.fields(start, stop):
            if tag == RESOURCE_ATTRIBUTES and len(found) < ATTRIBUTES_LIMIT:
                _attribute(message, a, b, found)
        if len(self._resources) >= RESOURCES_LIMIT:
            self._resources.clear()
        return self._resources.setdefault(raw, found)


Range = tuple[int, int]


def _groups(message: Message) -> Iterator[tuple[Range, list[Range]]]:
    """Of each ResourceSpans where its resource lies, and its ScopeSpans."""
    for tag, start, stop in message.fields(0, len(message.data)):
        if tag != RESOURCE_SPANS:
            continue
        resource, scopes = (0, 0), []
        for inner, a, b in message.fields(start, stop):
            if inner == RESOURCE:
                resource = a, b
            elif inner == SCOPE_SPANS:
                scopes.append((a, b))
        yield resource, scopes


def _spans(message: Message, scopes: list[Range]) -> Iterator[Range]:
    for start, stop in scopes:
        for tag, a, b in message.fields(start, stop):
            if tag == SPANS:
                yield a, b


def _span(message: Message, start: int, stop: int, resource: Mapping[str, str]) -> Span | None:
    data = message.data
    ids = {TRACE_ID: b"", SPAN_ID: b"", PARENT_ID: b""}
    times = {START: 0, END: 0}
    name, kind, error = "", 0, False
    attributes: dict[str, str] = {}
    for tag, a, b in message.fields(start, stop):
        if tag == ATTRIBUTES:
            if len(attributes) < ATTRIBUTES_LIMIT:
                _attribute(message, a, b, attributes)
        elif tag in ids:
            ids[tag] = data[a:b]
        elif tag in times:
            times[tag] = int.from_bytes(data[a:b], "little")
        elif tag == NAME:
            name = _text(data, a, b, NAME_LIMIT)
        elif tag == KIND:
            kind = a
        elif tag == STATUS:
            error = any(inner == CODE and code == ERROR for inner, code, _ in message.fields(a, b))
    trace, identity, parent = ids.values()
    if len(trace) != 16 or len(identity) != 8 or trace == NO_TRACE or identity == NO_SPAN:
        return None
    word = KINDS[kind] if kind < len(KINDS) else ""
    above = parent.hex() if len(parent) == 8 and parent != NO_SPAN else ""
    return Span(
        trace.hex(), identity.hex(), above, name, word, times[START], times[END], error, attributes, resource
    )


def _attribute(message: Message, start: int, stop: int, into: dict[str, str]) -> None:
    """Adds an attribute whose value is no list or map."""
    key, value = "", None
    for tag, a, b in message.fields(start, stop):
        if tag == KEY:
            key = _text(message.data, a, b, KEY_LIMIT)
        elif tag == VALUE:
            value = _value(message, a, b)
    if key and value is not None:
        into[sys.intern(key)] = value


def _value(message: Message, start: int, stop: int) -> str | None:
    value = None
    for tag, a, b in message.fields(start, stop):
        if tag == STRING:
            value = _text(message.data, a, b, TEXT_LIMIT)
        elif tag == BOOL:
            value = "true" if a else "false"
        elif tag == INT:
            value = str(a - (1 << 64) if a >> 63 else a)
        elif tag == DOUBLE:
            value = repr(struct.unpack("<d", message.data[a:b])[0])
    return value


def _text(data: bytes, start: int, stop: int, limit: int) -> str:
    """UTF-8, and in place of what is none U+FFFD; cut where it is long."""
    if stop - start <= limit:
        return data[start:stop].decode("utf-8", "replace")
    text = data[start : min(stop, start + 4 * limit)].decode("utf-8", "replace")
    return text if len(text) <= limit else text[: limit - 1] + "…"
