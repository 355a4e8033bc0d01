"""Collectors that keep what an Envoy sends: spans (Zipkin's JSON over HTTP/1.1, OTLP over gRPC), and metrics.

Each binds as it is made (port 0: any), is a context manager, and ``wait_for`` returns as soon as what has
arrived satisfies a test, without sleeping.
"""

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import h2.connection
import h2.events
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.harness.backends import (
    CHUNK,
    ThreadedServer,
    parse_headers,
    read_body,
    read_head,
    server_connection,
)

Found = TypeVar("Found")

GRPC_HEADER = 5  # a flag and a length before each message
EMPTY_MESSAGE = bytes(GRPC_HEADER)


class Span(NamedTuple):
    """What both protocols tell of a span.  ``resource`` is empty with Zipkin, which has none."""

    service: str
    name: str
    kind: str  # SERVER, CLIENT ...
    trace_id: str  # hex, 32 digits (Zipkin: as sent)
    span_id: str
    parent_id: str  # empty: a root
    tags: dict[str, str]
    resource: dict[str, str]


class Collector(ThreadedServer):
    """What both have in common: the spans so far, and who waits for more."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._arrival = threading.Condition()
        self._spans: list[Span] = []
        super().__init__(host, port)

    @property
    def spans(self) -> list[Span]:
        with self._arrival:
            return list(self._spans)

    def wait_for(self, wanted: Callable[[list[Span]], Found], timeout: float = 15.0) -> Found:
        """What ``wanted`` makes of the spans, as soon as that is true.  Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        with self._arrival:
            while not (found := wanted(list(self._spans))):
                if not self._arrival.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"after {timeout} s: {self._spans}")
            return found

    def _add(self, spans: list[Span]) -> None:
        with self._arrival:
            self._spans += spans
            self._arrival.notify_all()


class ZipkinCollector(Collector):
    """Takes any POST; what it got is ``hosts`` (the Host headers) and ``paths`` too."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.hosts: set[str] = set()
        self.paths: set[str] = set()
        super().__init__(host, port)

    def serve(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as stream:
            while head := read_head(stream):
                headers = parse_headers(head)
                body = read_body(stream, headers)
                self.hosts.add(headers["host"])
                self.paths.add(head.split(b" ", 2)[1].decode())
                self._add([_from_zipkin(span) for span in json.loads(body)])
                peer.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


class GrpcServer(ThreadedServer):
    """Every message of any gRPC method is for ``take``, and answered with an empty one."""

    def take(self, message: bytes) -> None:
        raise NotImplementedError

    def serve(self, peer: socket.socket) -> None:
        connection = server_connection(peer)
        bodies: dict[int, io.BytesIO] = {}
        while data := peer.recv(CHUNK):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    bodies[event.stream_id] = io.BytesIO()
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id].write(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    bodies.pop(event.stream_id, None)
                elif isinstance(event, h2.events.StreamEnded):
                    self.take(bodies.pop(event.stream_id).getvalue()[GRPC_HEADER:])
                    self._answer(connection, event.stream_id)
            with contextlib.suppress(BrokenPipeError):
                peer.sendall(connection.data_to_send())

    def _answer(self, connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        connection.send_data(stream, EMPTY_MESSAGE)
        connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)


class OtlpCollector(GrpcServer, Collector):
    """The gRPC method Export of opentelemetry.proto.collector.trace.v1.TraceService."""

    def take(self, message: bytes) -> None:
        self._add(_from_otlp(message))


class Point(NamedTuple):
    """One number of a metric: a sum's, a gauge's, or a histogram's count."""

    name: str
    attributes: dict[str, str]
    value: float
    resource: dict[str, str]


class OtlpMetrics(GrpcServer):
    """The gRPC method Export of opentelemetry.proto.collector.metrics.v1.MetricsService."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.points: list[Point] = []  # as they came
        super().__init__(host, port)

    def take(self, message: bytes) -> None:
        for group in ExportMetricsServiceRequest.FromString(message).resource_metrics:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    for point in getattr(metric, metric.WhichOneof("data")).data_points:
                        value = getattr(point, "count", None) or point.as_int or point.as_double
                        self.points.append(Point(metric.name, _attributes(point.attributes), value, resource))


class Statsd:
    """Datagrams of ``name:value|type`` lines, on loopback."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(10.0)
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> "Statsd":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait_for(self, name: str, kind: str) -> float:
        """The next value of that name and kind (``c``, ``g``, ``ms``).  Raises TimeoutError."""
        while True:
            for line in self._socket.recv(65536).decode().splitlines():
                found, _, rest = line.rpartition(":")
                value, _, its_kind = rest.partition("|")
                if (found, its_kind) == (name, kind):
                    return float(value)


def _from_zipkin(span: dict[str, Any]) -> Span:
    return Span(
        service=span.get("localEndpoint", {}).get("serviceName", ""),
        name=span.get("name", ""),
        kind=span.get("kind", ""),
        trace_id=span["traceId"],
        span_id=span["id"],
        parent_id=span.get("parentId", ""),
        tags=span.get("tags", {}),
        resource={},
    )


def _from_otlp(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    spans: list[Span] = []
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            spans += [_from_otlp_span(span, resource) for span in scope.spans]
    return spans


def _from_otlp_span(span: trace_pb2.Span, resource: dict[str, str]) -> Span:
    return Span(
        service=resource.get("service.name", ""),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        tags=_attributes(span.attributes),
        resource=resource,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return "" if kind is None else str(getattr(value, kind))
