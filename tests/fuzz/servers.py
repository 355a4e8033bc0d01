"""What serves connections: any bytes, in any pieces, get an answer or an end, and leave nothing behind."""

import os
import socket

import trio
import trio.testing

from shim.registrar.http_connection import Request, Response
from shim.registrar.http_server import HttpServer
from shim.registrar.registration import MESSAGE_LIMIT, _Connections
from shim.wire.flags import FlagError, parse_flags
from tests.builders import QuietState, in_trio, nothing_logged, open_fds
from tests.registrar.test_http import heard, statuses
from tests.registrar.test_registration import answer

ANSWERS = (b"ok", b"known", b"held", b"free", b"taken", b"refused ")


def http(data: bytes) -> None:
    """The first byte says into how many pieces the rest is cut."""
    with nothing_logged():
        _http(data[1:], data[0] % 4 + 1 if data else 1)


@in_trio
async def _http(data: bytes, pieces: int) -> None:
    asked: list[Request] = []
    closed: list[int] = []

    async def handle(request: Request) -> Response:
        asked.append(request)
        await trio.lowlevel.checkpoint()
        return Response(304 if request.target == "/304" else 200, b"text")

    server = HttpServer(handle, closed.append)
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.attend, theirs)
        size = len(data) // pieces + 1
        try:
            for start in range(0, len(data), size):
                await ours.send_all(data[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
        except trio.BrokenResourceError:
            pass
        codes = statuses(await heard(ours, 0.1))
        assert all(code in (100, 200, 304) or 400 <= code < 502 for code in codes), codes
        await ours.aclose()
    assert closed == [1]


def registration(data: bytes) -> None:
    """A connection to the registration socket that brings two pipes, or (odd first byte) none."""
    before = open_fds()
    _registration(data[1:], bool(data) and data[0] % 2 == 0)
    assert open_fds() == before


@in_trio
async def _registration(data: bytes, with_pipes: bool) -> None:
    state = QuietState()
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    lease_read, lease = os.pipe()
    wake, wake_write = os.pipe()
    ours.setblocking(False)
    try:
        # Longer than any message, and no longer than the socket takes.
        socket.send_fds(
            ours, [data[: 2 * MESSAGE_LIMIT] or b"\n"], [lease_read, wake_write][: 2 * with_pipes]
        )
        ours.shutdown(socket.SHUT_WR)
        with socket.socket(socket.AF_UNIX) as unused:
            intake = _Connections(trio.socket.from_stdlib_socket(unused), state)
            await intake._limit.acquire_on_behalf_of(token := object())
            await intake._attend(trio.socket.from_stdlib_socket(theirs), token)
        assert not intake._limit.borrowed_tokens
        assert not intake._silent
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            said = await answer(stream)
        assert said.endswith(b"\n")
        assert said.startswith(ANSWERS)
        assert said.count(b"\n") == 1, said
        assert (said == b"ok\n") == (len(state.registry) == 1) == (len(state.shims.control_pipes) == 1)
        for admitted in state.registry:
            words = data.rstrip(b"\n").decode("utf-8", "replace").split("\0")
            args = words[2:] if words[0] == "adopt" else words[1:]
            proto, ip, port, *_ = parse_flags(args)
            assert admitted.binding.address == (proto, ip, port)
    except FlagError:
        raise AssertionError("what no flags are was registered") from None
    finally:
        state.shims.control_pipes.close()
        ours.close()
        for fd in (lease_read, lease, wake, wake_write):
            os.close(fd)
