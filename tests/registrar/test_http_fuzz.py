"""The HTTP server and any bytes: they are answered or dropped, and never more than that."""

import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shim.registrar.http_connection import Request, Response
from tests.builders import in_trio, nothing_logged
from tests.registrar.test_http import GET, POST, Closed, connected, heard, statuses

STARTS = (
    b"GET /",
    b"HEAD /",
    b"POST /",
    b"CONNECT x:1",
    b" HTTP/1.1\r\nHost: x\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n",
)
FIELDS = (b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"\r\n")
OTHERS = (
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: a\r\n",
    b"3\r\n",
    b"abc",
    b"0\r\n",
    GET,
    POST,
)


@settings(deadline=None)
@given(
    st.lists(st.binary() | st.lists(st.sampled_from(STARTS + FIELDS + OTHERS)).map(b"".join), max_size=5),
    st.sampled_from([200, 304, 404]),
)
@example([b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"], 200)
@example([b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + GET], 200)
@example([GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n") * 2], 200)
@example([b"HEAD / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nabc\r\n"], 200)
@in_trio
async def test_any_bytes_are_answered_or_dropped_and_never_hurt_the_server(
    pieces: list[bytes], status: int
) -> None:
    async def answer(request: Request) -> Response:
        return Response(status if request.method in ("GET", "HEAD", "POST") else 405, b"text")

    closed = Closed()
    with nothing_logged():
        async with connected(answer, closed) as client:
            try:
                for piece in pieces:
                    await client.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
            except trio.BrokenResourceError:
                pass
            assert all(code in (100, status) or 400 <= code <= 501 for code in statuses(await heard(client)))
    assert closed.connections == [1]
