"""Asking Envoys whose containers speak first: whatever they answer, and what stays of it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from shim.core.binding import Backend
from shim.core.envoy.modes import AUTO, Serving
from shim.core.leases.lease import Lease
from shim.registrar.spoke_first import remember, watch
from tests.builders import QuietState, make_binding, make_lease, make_service

SPOKE = b"tcp.0123456789ab-4000.rbac.shadow_allowed: 3\n"
OTHERS = b"tcp.0123456789ab-4001.rbac.shadow_allowed: 1\ntcp.x.rbac.shadow_allowed: 0\n"
HTTP = b"cluster.web-8080.upstream_rq_2xx: 1\n"

Answer = Callable[[bytes], bytes]  # to the request's head


@asynccontextmanager
async def an_envoy(answer: Answer) -> AsyncIterator[str]:
    """An admin's address; to each request it answers these bytes as they are."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await stream.send_all(answer(await stream.receive_some(65536)))
            except trio.BrokenResourceError:
                pass

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def page(spoke: bytes, http: bytes = b"") -> Answer:
    def answer(request: bytes) -> bytes:
        assert request.startswith(b"GET /stats?usedonly&filter=%5E")
        body = spoke if b"rbac" in request else http
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    return answer


def watched(file: Path, *answers: Answer, until: Callable[[Lease], bool]) -> Lease:
    """The lease of a port in mode auto once it is as wanted, with an Envoy for each of the answers."""

    async def run() -> Lease:
        state = QuietState("auto")
        lease = make_lease(1, make_binding(8080)._replace(backend=Backend("172.17.0.2", 4000)))
        state.registry.add(lease)
        state.label((lease, make_service(), Serving(AUTO)))
        async with trio.open_nursery() as nursery:
            for number, answer in enumerate(answers):
                address = await nursery.start(keep, answer)
                state.poll(f"node-{number}", address, number, os.geteuid())
            remember(file, state.labelling.server_first)
            nursery.start_soon(watch, state, "127.0.0.1:1", file)
            with trio.fail_after(10):
                while not until(lease):
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        return lease

    async def keep(answer: Answer, task_status: "trio.TaskStatus[str]") -> None:
        async with an_envoy(answer) as address:
            task_status.started(address)
            await trio.sleep_forever()

    return trio.run(run)


def is_bytes(lease: Lease) -> bool:
    return lease.serving is not None and lease.serving.mode.name == "tcp"


def test_a_port_that_an_envoy_counts_is_served_as_bytes_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "learnt"
    watched(file, page(OTHERS + SPOKE), until=lambda lease: is_bytes(lease) and file.exists())
    assert file.read_text() == "4000 shop/web:1\n"
    assert list(tmp_path.iterdir()) == [file]


def test_one_that_answers_http_is_asked_about_on(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return page(SPOKE, HTTP)(request)

    lease = watched(tmp_path / "learnt", answer, until=lambda _: len(asked) >= 4)
    assert not is_bytes(lease)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _: b"",
        lambda _: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        lambda _: b"220 no HTTP\r\n",
        page(b"tcp." + b"x" * (5 << 20)),
        page(b"\xff\xfe: \n" * 100),
        page(b"tcp.0123456789ab-4000.rbac.shadow_allowed: -1\n"),
        page(b"tcp.0123456789ab-4000.rbac.shadow_denied: 1\n"),
    ],
    ids=["nothing", "500", "no HTTP", "huge", "no text", "no number", "another counter"],
)
def test_an_envoy_that_answers_wrongly_hinders_no_other(tmp_path: Path, wrong: Answer) -> None:
    watched(tmp_path / "learnt", wrong, page(SPOKE), until=is_bytes)


def test_without_its_file_or_with_a_spoilt_one_a_registrar_learns_again(tmp_path: Path) -> None:
    file = tmp_path / "learnt"
    file.write_bytes(b"\xff\0 4000\n4000 another/image\n")
    watched(file, page(SPOKE), until=lambda lease: is_bytes(lease) and "shop" in file.read_text())
    assert file.read_text() == "4000 another/image\n4000 shop/web:1\n"


def test_a_file_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched(
        tmp_path / "no" / "learnt", page(SPOKE), until=lambda lease: is_bytes(lease) and bool(caplog.text)
    )
    assert "cannot be written" in caplog.text
