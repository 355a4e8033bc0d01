"""The API of local traces: GET /traces, GET /traces/ID, and POST /v1/traces, where Envoys bring the spans."""

from collections.abc import Callable

from shim.core.envoy.tracing import SPANS_PATH
from shim.registrar.answers import refusal
from shim.registrar.http_connection import Request, Response
from shim.registrar.state import State
from shim.registrar.traces import latest, one
from shim.registrar.view import as_json

PROTOBUF = "application/x-protobuf"
TURNED_OFF = "no traces are kept here: set `tracing: {local: true}` and restart the registrar"


def traces_page(state: State, request: Request) -> Response:
    """The last traces; 400 for a bad query, 404 where none are kept."""
    if state.traces is None:
        return refusal(404, TURNED_OFF)
    try:
        return _whole(latest(state.traces, request.target.partition("?")[2]))
    except ValueError as error:
        return refusal(400, str(error))


def trace_page(state: State, request: Request) -> Response:
    """One trace; 404 where there is none."""
    if state.traces is None:
        return refusal(404, TURNED_OFF)
    identity = request.target.partition("?")[0].rpartition("/")[2]
    found = one(state.traces, identity)
    if found is None:
        limit = state.traces.kept.limit
        return refusal(404, f"no trace {identity[:40]!r} among the last {limit} spans")
    return _whole(found)


def _whole(document: object) -> Response:
    """Made at once: an answer that is read slowly would keep spans that have long left the ring."""
    return Response(200, b"".join(as_json(document)))


async def take_spans(state: State, request: Request, trusts: Callable[[int], bool]) -> Response:
    """Only of users whose Envoys count: others' spans would be shown as if they were Envoy's."""
    if request.method != "POST":
        return refusal(405, f"spans come to {SPANS_PATH} with POST; they are read at /traces")
    if not trusts(request.user):
        return refusal(403, f"user {request.user} is none whose Envoys count (envoy_user says whose do)")
    if state.traces is None:
        return refusal(404, TURNED_OFF)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PROTOBUF:
        return refusal(415, f"spans are taken as {PROTOBUF}")
    body = bytes(request.body)
    if isinstance(request.body, bytearray):
        request.body.clear()  # the answer may have to wait
    try:
        await state.traces.take(body, state.now())
    except ValueError as error:
        return refusal(400, f"no ExportTraceServiceRequest: {error}")
    return Response(200, b"", PROTOBUF)  # an ExportTraceServiceResponse: all is well
