"""`tracing: {local: true}` on a real dockerd: a trace of two containers, in the API and in the terminal."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.docker import IMAGE
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SETTINGS = {"tracing": {"local": True}, "access_log": "stdout"}


@pytest.fixture(scope="module")
def stack(artifact: Path) -> Iterator[Stack]:
    with Stack(artifact, "28", settings=SETTINGS) as running:
        for name, port in (("front", 8310), ("shop", 8311)):
            labels = {"ServiceName": name, "EnvironmentName": "dev"}
            running.dockerd.run_http("hello", "-p", f"{port}:80", name=f"{name}-1", labels=labels)
            running.get(port)
        url = f"http://{running.dockerd.gateway()}:8311/"
        labels = {"ServiceName": "caller"}
        running.dockerd.run_front(url, "-p", "8312:80", name="caller-1", labels=labels)
        yield running


def trace_of(stack: Stack, identity: str, spans: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        reply = stack.registrar.read(f"/traces/{identity}")
        found: dict[str, Any] = json.loads(reply.text)
        return found if reply.status == 200 and len(found["spans"]) == spans else None

    found = eventually(look, 6, "the trace is told of")
    assert found is not None
    return found


def ask_both(stack: Stack, identity: str) -> list[dict[str, Any]]:
    """A client's two requests in one trace of its own; its spans."""
    headers = {"traceparent": f"00-{identity}-{CLIENT}-01"}
    for port in (8310, 8311):
        stack.host.http_get(f"http://127.0.0.1:{port}/cart", headers=headers)
    spans: list[dict[str, Any]] = trace_of(stack, identity, 2)["spans"]
    return spans


def test_a_client_that_asks_two_services_makes_one_trace_of_both(stack: Stack) -> None:
    spans = ask_both(stack, "6" * 32)
    assert [(span["service"], span["container"], span["parent"]) for span in spans] == [
        ("front", "front-1", CLIENT),
        ("shop", "shop-1", CLIENT),
    ]
    assert {span["resource"]["container.image.name"] for span in spans} == {IMAGE}
    assert {span["status"] for span in spans} == {404}


def test_a_container_that_passes_its_trace_on_is_above_what_it_asked(stack: Stack) -> None:
    stack.get(8312)
    headers = {"traceparent": f"00-{'7' * 32}-{CLIENT}-01"}
    assert stack.host.http_get("http://127.0.0.1:8312/", headers=headers).text == "hello\n"
    caller, shop = trace_of(stack, "7" * 32, 2)["spans"]
    assert (caller["service"], shop["service"], shop["parent"]) == ("caller", "shop", caller["id"])
    assert (caller["depth"], shop["depth"]) == (0, 1)
    assert 0 < shop["duration_ms"] < caller["duration_ms"]


def test_it_is_shown_in_a_terminal(stack: Stack) -> None:
    ask_both(stack, TRACE)
    line = stack.registrar.command("traces", "shop", "--errors", "-n", "1").stdout
    assert re.fullmatch(rf"\S+ \S+  {TRACE}  front/dev +  404 .* 2 spans  GET \S+/cart\n", line)
    head, front, shop = stack.registrar.command("traces", TRACE).stdout.splitlines()
    assert head.startswith(f"trace {TRACE}  ") and head.endswith(" 2 spans, 2 services")
    assert re.fullmatch(r"front/dev .* GET \S+/cart +  404 .*\|=.*\|", front)
    assert shop.startswith("shop/dev ")
    named = json.loads(stack.registrar.command("traces", "front-1", "--json").stdout)
    assert named["limit"] == 2000 and named["traces"]


def test_a_line_of_the_access_log_has_its_trace(stack: Stack) -> None:
    stack.host.http_get("http://127.0.0.1:8311/logged")

    def logged() -> str:
        with stack.envoy.log.open() as log:
            lines = stack.registrar.command("logs", "--json", "--file", "-", stdin=log).stdout.splitlines()
        found = [json.loads(line) for line in lines]
        return next((line["trace_id"] for line in found if line.get("url.path") == "/logged"), "")

    trace = trace_of(stack, eventually(logged, 10, "a line of the access log"), 1)
    assert trace["spans"][0]["name"].endswith("/logged")


def test_what_is_not_there_is_said_in_one_line(stack: Stack, tmp_path: Path) -> None:
    unknown = stack.registrar.command("traces", "f" * 32, check=False)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no trace 'ffff" in unknown.stderr and unknown.stderr.count("\n") == 1
    none = stack.registrar.command("traces", "nobody")
    assert (none.stdout, none.stderr.count("\n")) == ("", 1)
    assert "no trace of nobody among the last 2000 spans" in none.stderr
