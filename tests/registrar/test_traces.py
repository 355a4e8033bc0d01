"""Local traces at the API: who may bring spans, at what rate, and what is told of them."""

import json
from typing import Any

import pytest
import trio

from shim.core.endpoint import Endpoint
from shim.core.traces.span import Span
from shim.registrar.http_connection import Request, Response
from shim.registrar.traces import (
    LONGEST_WAIT,
    REQUEST_COST,
    SPANS_A_SECOND,
    SPANS_AT_ONCE,
    SPANS_SHOWN,
    WORK_A_SECOND,
    WORK_AT_ONCE,
)
from tests.builders import in_trio, make_export, make_span
from tests.registrar.test_api import CLUSTERS, Registrar, document
from tests.registrar.test_metrics import metrics

NOBODY = 65534
TRACE = make_span().trace


class Keeping(Registrar):
    """One that keeps traces."""

    def __init__(self, limit: int = 5000) -> None:
        super().__init__()
        self.state.keep_traces(limit, Endpoint(path="/run/api.sock"))

    async def bring(
        self, *spans: Span, body: bytes | None = None, user: int = 0, content: str = "application/x-protobuf"
    ) -> Response:
        headers = {"host": "envoy_docker_shim_spans", "content-type": content}
        sent = bytearray(make_export(*spans)) if body is None else body
        return await self.api.handle(Request("POST", "/v1/traces", headers, sent, 7, user))

    async def traces(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = document(await self.get(f"/traces{query}"))["traces"]
        return found


def many(count: int, **more: Any) -> list[Span]:
    return [make_span(trace=f"{n:032x}", start=n, end=n + 1, **more) for n in range(1, count + 1)]


@in_trio
async def test_a_trace_of_two_services_is_told() -> None:
    registrar = Keeping()
    front = make_span(parent="f" * 16, start=1.0, end=9.0, agent='<b>"\x1b')
    back = make_span(
        id="2" * 16, parent=front.id, start=3.25, end=5.0, service="shop", status=503, error=True
    )
    assert (await registrar.bring(back)).status == 200
    response = await registrar.bring(front)
    assert (response.body, response.content_type) == (b"", "application/x-protobuf")
    summary = {
        "id": TRACE,
        "service": "web",
        "environment": "dev",
        "container": "web-1",
        "name": "GET demo/",
        "started": "1970-01-01T00:00:00.001000+00:00",
        "duration_ms": 8.0,
        "status": 200,
        "error": True,
        "spans": 2,
        "services": ["shop", "web"],
    }
    assert document(await registrar.get("/traces")) == {"kept": 2, "limit": 5000, "traces": [summary]}
    told = document(await registrar.get(f"/traces/{TRACE.upper()}"))
    assert (told["id"], told["duration_ms"], told["left_out"]) == (TRACE, 8.0, 0)
    first, second = told["spans"]
    assert first["attributes"] == {"http.url": "http://demo/", "http.status_code": "200", "agent": '<b>"\x1b'}
    del first["attributes"], second["attributes"]
    assert first == {
        "id": front.id,
        "parent": "f" * 16,
        "depth": 0,
        "service": "web",
        "environment": "dev",
        "container": "web-1",
        "kind": "server",
        "name": "GET demo/",
        "started": "1970-01-01T00:00:00.001000+00:00",
        "offset_ms": 0.0,
        "duration_ms": 8.0,
        "status": 200,
        "error": False,
        "resource": {
            "service.name": "web",
            "deployment.environment.name": "dev",
            "container.name": "web-1",
        },
    }
    assert (second["depth"], second["parent"], second["offset_ms"], second["status"], second["error"]) == (
        1,
        front.id,
        2.25,
        503,
        True,
    )


@in_trio
async def test_the_newest_come_first_and_can_be_chosen_from() -> None:
    registrar = Keeping()
    await registrar.bring(*many(60), *many(3, service="shop", status=404))
    assert [trace["id"] for trace in await registrar.traces("?limit=2")] == [f"{n:032x}" for n in (60, 59)]
    assert len(await registrar.traces()) == 50
    assert len(await registrar.traces("?limit=1000&service=")) == 60
    shop = await registrar.traces("?service=shop&errors=1")
    assert [trace["spans"] for trace in shop] == [2, 2, 2]
    assert await registrar.traces("?service=db") == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit='0': must be a whole number from 1 to 1000"),
        ("limit=1001", "limit='1001'"),
        ("limit=", "limit=''"),
        ("limit=%C2%B2", "limit='²'"),
        ("errors=yes", "errors='yes': must be 0 or 1"),
        ("servce=web", "unknown parameter 'servce': there are service, limit and errors"),
        ("&".join("service=a" for _ in range(9)), "too many parameters"),
    ],
)
@in_trio
async def test_a_bad_question_is_answered_in_one_line(query: str, said: str) -> None:
    response = await Keeping().get(f"/traces?{query}")
    assert response.status == 400
    assert said in document(response)["error"]


@in_trio
async def test_what_is_not_kept_any_more_is_404() -> None:
    registrar = Keeping(limit=100)
    await registrar.bring(*many(101))
    response = await registrar.get(f"/traces/{1:032x}")
    assert (response.status, document(response)["error"]) == (
        404,
        f"no trace '{1:032x}' among the last 100 spans",
    )
    assert (await registrar.get(f"/traces/{2:032x}")).status == 200
    for odd in ("", "x", "a" * 9999, "%2e", "1/2"):
        assert (await registrar.get(f"/traces/{odd}")).status == 404
    assert (await registrar.get(f"/traces/{2:032x}", "POST")).status == 405
    found = await metrics(registrar)
    assert found.value("envoy_docker_shim_spans_stored") == 100
    assert found.value("envoy_docker_shim_spans_total", result="kept") == 101


@in_trio
async def test_only_envoys_that_count_bring_spans() -> None:
    registrar = Keeping()
    response = await registrar.bring(make_span(), user=NOBODY)
    assert (response.status, len(document(response)["error"].splitlines())) == (403, 1)
    assert await registrar.traces() == []
    assert (await registrar.bring(make_span())).status == 200


@pytest.mark.parametrize(
    ("body", "content", "status"),
    [
        (b"{}", "application/json", 415),
        (b"", "", 415),
        (b"\x0a", "application/x-protobuf", 400),
        (b"", "application/x-protobuf", 200),
        (b"", "Application/X-Protobuf; a=b", 200),
    ],
)
@in_trio
async def test_what_is_no_otlp_is_refused(body: bytes, content: str, status: int) -> None:
    registrar = Keeping()
    assert (await registrar.bring(body=body, content=content)).status == status
    assert (await registrar.get("/v1/traces")).status == 405


@in_trio
async def test_what_was_read_before_an_error_is_kept_and_counted() -> None:
    registrar = Keeping()
    good = make_export(make_span())
    broken = good + good.replace(b"\x2a\x03GET", b"\x2b\x03GET")  # its name, as what no message has today
    assert (await registrar.bring(body=broken)).status == 400
    found = await metrics(registrar)
    counted = [found.value("envoy_docker_shim_spans_total", result=r) for r in ("kept", "invalid")]
    assert counted == [1, 1]
    assert len(await registrar.traces()) == 1


@in_trio
async def test_where_none_are_kept_it_says_how_to_have_them() -> None:
    registrar = Registrar()
    for target in ("/traces", f"/traces/{TRACE}"):
        response = await registrar.get(target)
        assert response.status == 404
        assert "set `tracing: {local: true}`" in document(response)["error"]
    assert (await registrar.get("/v1/traces", "POST")).status == 404
    assert document(await registrar.poll(CLUSTERS))["resources"] == []
    assert (await metrics(registrar)).value("envoy_docker_shim_spans_stored") == 0


@in_trio
async def test_envoys_are_told_where_spans_go() -> None:
    registrar = Keeping()
    (cluster,) = document(await registrar.poll(CLUSTERS))["resources"]
    assert document(await registrar.poll("/v3/discovery:endpoints"))["resources"] == []
    assert cluster["name"] == "envoy_docker_shim_spans"
    assert '"pipe": {"path": "/run/api.sock"}' in json.dumps(cluster)


@in_trio
async def test_no_more_spans_are_read_than_the_rate_and_the_rest_is_counted() -> None:
    registrar = Keeping()
    batch = many(100)
    for _ in range(100):
        assert (await registrar.bring(*batch)).status == 200
    found = await metrics(registrar)
    kept = found.value("envoy_docker_shim_spans_total", result="kept")
    assert kept <= SPANS_AT_ONCE + SPANS_A_SECOND * trio.current_time()
    assert kept >= SPANS_AT_ONCE
    assert kept + found.value("envoy_docker_shim_spans_total", result="rate") == 10_000
    await trio.sleep(SPANS_AT_ONCE / SPANS_A_SECOND)
    before = len(await registrar.traces("?limit=1000&service=late"))
    await registrar.bring(*many(100, service="late"))
    assert (before, len(await registrar.traces("?limit=1000&service=late"))) == (0, 100)


@in_trio
async def test_an_envoy_in_a_hurry_waits_for_its_answers() -> None:
    registrar = Keeping()
    answered = 0
    while trio.current_time() < 10:
        await registrar.bring()
        answered += 1
    assert answered * REQUEST_COST == pytest.approx(WORK_AT_ONCE + 10 * WORK_A_SECOND, rel=0.01)


@in_trio
async def test_no_answer_waits_long_however_many_ask() -> None:
    """Envoy gives up after seconds, and what it has sent by then is lost."""
    registrar = Keeping()
    async with trio.open_nursery() as nursery:
        for _ in range(2000):
            nursery.start_soon(registrar.bring, make_span())
    assert trio.current_time() == LONGEST_WAIT


@in_trio
async def test_a_trace_that_a_client_made_endless_is_shown_in_part() -> None:
    registrar = Keeping()
    spans = [make_span(id=f"{n:016x}", start=n, end=n) for n in range(1, SPANS_SHOWN + 11)]
    await registrar.bring(*spans[:300])
    await registrar.bring(*spans[300:])
    told = document(await registrar.get(f"/traces/{TRACE}"))
    assert (len(told["spans"]), told["left_out"]) == (SPANS_SHOWN, 10)


@in_trio
async def test_who_reads_slowly_keeps_no_span_that_has_left_the_ring() -> None:
    registrar = Keeping()
    await registrar.bring(make_span())
    for target in ("/traces", f"/traces/{TRACE}"):
        assert isinstance((await registrar.get(target)).body, bytes)
