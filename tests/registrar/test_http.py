"""The HTTP server over streams in memory, once over a real socket: what good and bad clients get from it."""

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from shim.registrar import http_connection
from shim.registrar.http_connection import Handler, Request, Response
from shim.registrar.http_server import HttpServer
from tests.builders import in_trio

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: t\r\n\r\n"
Stream = trio.abc.HalfCloseableStream


async def echo(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return Response(200, f"{request.method} {request.target} {request.body.decode('latin-1')}\n".encode())


class Closed:
    """Which connections the server has said are over."""

    def __init__(self) -> None:
        self.connections: list[int] = []


@asynccontextmanager
async def connected(
    handler: Handler = echo, closed: Closed | None = None, lockstep: bool = False
) -> AsyncIterator[Stream]:
    """A client's stream to a server; on leaving, the server must be done with it."""
    server = HttpServer(handler, (closed or Closed()).connections.append)
    make = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
    ours, theirs = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.attend, theirs)
        yield ours
        await ours.aclose()


async def heard(stream: Stream, seconds: float = 0.5) -> bytes:
    """Everything that comes within this time."""
    found = bytearray()
    with trio.move_on_after(seconds):
        async for data in stream:
            found += data
    return bytes(found)


def statuses(answers: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1.1 (\d+)", answers)]


async def is_closed(stream: Stream) -> bool:
    with trio.move_on_after(0.5):
        return not await stream.receive_some()
    return False


@pytest.mark.parametrize(
    ("request_bytes", "body"), [(GET, b"GET /a \n"), (POST, b"POST /b abc\n"), (CHUNKED, b"POST /c ab\n")]
)
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@in_trio
async def test_a_request_is_the_same_in_whatever_pieces_it_comes(
    request_bytes: bytes, body: bytes, step: int
) -> None:
    async with connected() as client:
        for start in range(0, len(request_bytes), step):
            await client.send_all(request_bytes[start : start + step])
            await trio.testing.wait_all_tasks_blocked()
        answer = await heard(client)
        assert statuses(answer) == [200]
        assert answer.endswith(b"content-length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\nbad header\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 1_100_000, 413),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + b"x" * 0x200000,
            413,
        ),
    ],
)
@in_trio
async def test_a_request_that_breaks_the_rules_is_answered_and_its_connection_closed(
    head: bytes, status: int
) -> None:
    async with connected() as client:
        await client.send_all(head)
        assert statuses(await heard(client)) == [status]
        assert await is_closed(client)


@pytest.mark.parametrize(
    ("start", "patience"),
    [
        (b"", http_connection.IDLE_TIMEOUT),
        (b"G", http_connection.REQUEST_TIMEOUT),
        (GET[:-2], http_connection.REQUEST_TIMEOUT),
        (POST[:-1], http_connection.REQUEST_TIMEOUT),
    ],
)
@in_trio
async def test_a_client_that_stops_in_the_middle_is_dropped_in_time(start: bytes, patience: float) -> None:
    async with connected() as client:
        if start:
            await client.send_all(start)
        began = trio.current_time()
        assert await client.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(patience)


@in_trio
async def test_a_client_that_sends_a_byte_now_and_then_is_dropped_in_the_same_time() -> None:
    async with connected() as client:
        with pytest.raises(trio.BrokenResourceError):
            for byte in GET:
                await client.send_all(bytes([byte]))
                await trio.sleep(2)
        assert trio.current_time() == pytest.approx(http_connection.REQUEST_TIMEOUT, abs=2.1)


@in_trio
async def test_a_client_that_does_not_read_its_answer_is_dropped() -> None:
    closed = Closed()
    async with connected(closed=closed, lockstep=True) as client:
        await client.send_all(GET)
        await trio.sleep(http_connection.WRITE_TIMEOUT + 1)
        assert closed.connections == [1]


@pytest.mark.parametrize("early", [b"", GET[:5]])
@in_trio
async def test_a_client_that_goes_away_cancels_the_work_that_is_done_for_it(early: bytes) -> None:
    ended = trio.Event()

    async def poll(_: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()
        raise AssertionError

    closed = Closed()
    async with connected(poll, closed) as client:
        await client.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        await client.aclose()
        with trio.fail_after(1):
            await ended.wait()
    assert closed.connections == [1]


@pytest.mark.parametrize("pause", [0.0, 0.2, 2.0], ids=["together", "during", "after"])
@in_trio
async def test_requests_in_a_row_are_answered_in_a_row(pause: float) -> None:
    async def slow(request: Request) -> Response:
        await trio.sleep(1)
        return await echo(request)

    async with connected(slow) as client:
        await client.send_all(GET)
        await trio.sleep(pause)
        await client.send_all(POST + CHUNKED)
        answers = await heard(client, 10)
        assert statuses(answers) == [200] * 3
        assert answers.index(b"GET /a") < answers.index(b"POST /b abc") < answers.index(b"POST /c ab")


@in_trio
async def test_a_client_that_waits_for_100_gets_it_once_and_then_its_answer() -> None:
    async with connected() as client:
        await client.send_all(POST[:-3].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert statuses(await heard(client)) == [100]
        await client.send_all(b"abc")
        assert statuses(await heard(client)) == [200]


@in_trio
async def test_a_connection_is_kept_and_has_a_number_of_its_own() -> None:
    numbers = []

    async def note(request: Request) -> Response:
        numbers.append(request.connection)
        return Response(200)

    closed = Closed()
    server = HttpServer(note, closed.connections.append)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(server.attend, theirs)
            for _ in range(3):
                await ours.send_all(GET)
                assert statuses(await heard(ours)) == [200]
            await ours.aclose()
    assert numbers == [1, 1, 1, 2, 2, 2]
    assert closed.connections == [1, 2]


@pytest.mark.parametrize(
    "last", [GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"GET / HTTP/1.0\r\n\r\n"]
)
@in_trio
async def test_a_connection_is_closed_where_the_client_wants_it(last: bytes) -> None:
    async with connected() as client:
        await client.send_all(last)
        assert statuses(await heard(client)) == [200]
        assert await is_closed(client)


@in_trio
async def test_not_modified_has_no_body_and_keeps_the_connection() -> None:
    async def nothing_new(_: Request) -> Response:
        return Response(304, b"not to be sent")

    async with connected(nothing_new) as client:
        for _ in range(2):
            await client.send_all(GET)
            assert re.fullmatch(rb"HTTP/1.1 304 [^\r]*\r\n\r\n", await heard(client))


@pytest.mark.parametrize("status", [200, 404])
@in_trio
async def test_an_answer_to_head_has_no_body_and_keeps_the_connection(status: int) -> None:
    async def answer(_: Request) -> Response:
        return Response(status, b"1234")

    async with connected(answer) as client:
        for _ in range(2):
            await client.send_all(GET.replace(b"GET", b"HEAD"))
            assert (await heard(client)).endswith(b"content-length: 4\r\n\r\n")


@in_trio
async def test_an_answer_that_cannot_be_sent_ends_its_connection_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Wrong:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[bytes]:
            yield b"more than one"

    async def answer(_: Request) -> Response:
        return Response(200, Wrong())

    async with connected(answer) as client:
        await client.send_all(GET)
        await heard(client)
    assert "an answer that cannot be sent" in caplog.text


@in_trio
async def test_what_the_system_does_not_take_at_once_follows_whole_and_in_order() -> None:
    """On a real socket, with a client that begins to read when its buffers are full."""
    wanted = b"".join(b"%07d\n" % number for number in range(1 << 18))

    async def answer(_: Request) -> Response:
        return Response(200, wanted)

    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(s)) for s in socket.socketpair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(answer, Closed().connections.append).attend, theirs)
        await ours.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        found = bytearray()
        while len(found.partition(b"\r\n\r\n")[2]) < len(wanted):
            found += await ours.receive_some(1 << 20)
        await ours.aclose()
    assert bytes(found.partition(b"\r\n\r\n")[2]) == wanted


# -- work and memory ------------------------------------------------------------------------------------


@in_trio
async def test_a_body_in_many_pieces_is_refused() -> None:
    head, piece = CHUNKED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", b"1\r\na\r\n"
    async with connected() as client:
        await client.send_all(head + piece * http_connection.PIECES_LIMIT + b"0\r\n\r\n")
        assert statuses(await heard(client)) == [200]
        await client.send_all(head + piece * (http_connection.PIECES_LIMIT + 1))
        assert statuses(await heard(client)) == [413]
        assert await is_closed(client)


@in_trio
async def test_requests_in_a_row_are_read_no_further_than_the_next() -> None:
    held = trio.Event()

    async def answer(_: Request) -> Response:
        await held.wait()
        return Response(200)

    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(s)) for s in socket.socketpair())
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(answer, Closed().connections.append).attend, theirs)
        with trio.move_on_after(5):
            while True:
                sent += await ours.socket.send(GET * 1000)
        # What the system takes, and what is read at once.
        assert sent < 1 << 20
        held.set()
        answers = bytearray()
        while answers.count(b"HTTP/1.1 200") < sent // len(GET):
            answers += await ours.receive_some()
        await ours.aclose()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@in_trio
async def test_an_answer_whose_length_nobody_knows_comes_in_parts(version: bytes, method: bytes) -> None:
    async def answer(_: Request) -> Response:
        return Response(200, iter([b"one ", b"two"]))

    async with connected(answer) as client:
        await client.send_all(GET.replace(b"1.1", version).replace(b"GET", method))
        head, _, body = (await heard(client)).partition(b"\r\n\r\n")
        assert b"content-length" not in head.lower()
        chunked = b"transfer-encoding: chunked" in head.lower()
        assert chunked == (version == b"1.1")
        if method == b"HEAD":
            assert body == b""
        else:
            assert body == (b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n" if chunked else b"one two")
