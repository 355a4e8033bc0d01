"""More connections than there is room for: who gets in, who is put out, and that all of it is bounded.

The same with the real programs is in tests/docker/faults/test_floods.py.
"""

import os
import resource
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from shim.host.peer_credentials import UNKNOWN, user_of
from shim.registrar import http_server, registration
from shim.registrar.http_connection import Handler, Request, Response
from shim.registrar.http_server import HttpServer
from tests.builders import QuietState, in_trio, open_fds
from tests.registrar.test_http import GET, heard, is_closed, statuses
from tests.registrar.test_registration import CLAIM, REGISTER, Pipes, answer, path, pipes, serving

__all__ = ["path", "pipes"]  # fixtures

NOBODY = 65534
ENVOY, MALLORY = 101, 1000


# -- the API ---------------------------------------------------------------------------------------------


class LargeBody:
    """As a discovery answer's: it comes in parts."""

    def __len__(self) -> int:
        return 1 << 20

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"x" * (1 << 16)] * 16)


async def answer_or_hold(request: Request) -> Response:
    if request.target == "/hold":
        await trio.sleep_forever()
    return Response(200, LargeBody() if request.target == "/large" else b"ok\n")


HOLD, LARGE = GET.replace(b"/a", b"/hold"), GET.replace(b"/a", b"/large")


class Server:
    """A server to which anybody can connect as any user."""

    def __init__(self, nursery: trio.Nursery, handler: Handler) -> None:
        self._nursery = nursery
        self.closed: list[int] = []
        self._users: dict[trio.abc.Stream, int] = {}
        self._server = HttpServer(handler, self.closed.append, lambda stream: self._users[stream])

    async def connect(self, user: int, say: bytes = b"") -> trio.abc.HalfCloseableStream:
        ours, theirs = trio.testing.memory_stream_pair()
        self._users[theirs] = user
        self._nursery.start_soon(self._server.attend, theirs)
        await trio.testing.wait_all_tasks_blocked()
        if say:
            await ours.send_all(say)
            await trio.testing.wait_all_tasks_blocked()
        return ours


@asynccontextmanager
async def api(handler: Handler = answer_or_hold) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        yield Server(nursery, handler)
        nursery.cancel_scope.cancel()


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_LIMIT", 6)


@pytest.mark.usefixtures("few_places")
@pytest.mark.parametrize("floods_with", [b"", GET[:9], GET, HOLD])
@in_trio
async def test_a_user_who_takes_all_there_is_loses_to_himself(floods_with: bytes) -> None:
    async with api() as server:
        poll = await server.connect(ENVOY, HOLD)
        idle = await server.connect(ENVOY, GET)
        for _ in range(20):
            await server.connect(MALLORY, floods_with)
        assert len(server.closed) == 16
        await heard(idle)
        await idle.send_all(GET)
        assert statuses(await heard(idle)) == [200]
        assert not await is_closed(poll)


@pytest.mark.usefixtures("few_places")
@in_trio
async def test_one_who_comes_when_all_is_taken_gets_a_place() -> None:
    async with api() as server:
        for _ in range(6):
            await server.connect(MALLORY, HOLD)
        envoy = [await server.connect(ENVOY, GET) for _ in range(2)]
        for _ in range(5):
            await server.connect(MALLORY, HOLD)
        assert [statuses(await heard(stream)) for stream in envoy] == [[200], [200]]
        assert not any([await is_closed(stream) for stream in envoy])


@pytest.mark.usefixtures("few_places")
@in_trio
async def test_of_one_user_s_the_silent_go_first_then_the_idle_then_the_youngest() -> None:
    async with api() as server:
        held = [await server.connect(0, HOLD) for _ in range(4)]
        silent = await server.connect(0)
        idle = await server.connect(0, GET)
        await heard(idle)
        second = await server.connect(0, HOLD)
        assert await is_closed(silent)
        third = await server.connect(0, HOLD)
        assert await is_closed(idle)
        await server.connect(0, HOLD)
        assert await is_closed(third)
        assert not any([await is_closed(stream) for stream in [*held, second]])


@pytest.mark.parametrize("trusted", [False, True])
@in_trio
async def test_answers_that_nobody_reads_are_bounded_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """But Envoys' configuration, which is the same to each of them: ten Envoys may read 4 MB each."""
    monkeypatch.setattr(http_server, "ANSWERS_LIMIT", 3 << 20)
    server = HttpServer(answer_or_hold, lambda connection: None, trusts=lambda user: trusted)
    async with trio.open_nursery() as nursery:
        clients = []
        for _ in range(5):
            # A pair whose writer waits until all has been read.
            ours, theirs = trio.testing.lockstep_stream_pair()
            nursery.start_soon(server.attend, theirs)
            clients.append(ours)
            await ours.send_all(LARGE)
            await trio.testing.wait_all_tasks_blocked()
        read = [len(await heard(client, 0.1)) for client in clients]
        assert [size > 1 << 20 for size in read] == [trusted, trusted, True, True, True], read
        nursery.cancel_scope.cancel()


@in_trio
async def test_a_single_answer_may_be_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "ANSWERS_LIMIT", 1000)
    async with api() as server:
        assert len(await heard(await server.connect(0, LARGE))) > 1 << 20


@in_trio
async def test_requests_are_begun_one_at_a_time() -> None:
    """So that a hundred expensive ones do not keep the rest of the process from its work."""
    begun: list[int] = []
    rounds = 0

    async def count(request: Request) -> Response:
        begun.append(rounds)
        return Response(200)

    async def tick() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    server = HttpServer(count, lambda connection: None)
    pairs = [trio.testing.memory_stream_pair() for _ in range(50)]
    for ours, _ in pairs:
        await ours.send_all(GET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        for _, theirs in pairs:
            nursery.start_soon(server.attend, theirs)
        while len(begun) < len(pairs):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    # Twice where the counter comes before one and after another.
    assert max(Counter(begun).values()) <= 2


@in_trio
async def test_a_flood_leaves_no_more_tasks_than_there_are_places() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with api() as server, AsyncExitStack() as clients:
        for number in range(3 * http_server.CONNECTION_LIMIT):
            say = (b"", GET[:9], GET, HOLD)[number % 4]
            clients.push_async_callback((await server.connect(MALLORY, say)).aclose)
        # One a connection, and another that watches for its end while it is held.
        tasks = trio.lowlevel.current_statistics().tasks_living - before
        assert http_server.CONNECTION_LIMIT <= tasks <= 2 * http_server.CONNECTION_LIMIT
        assert len(server.closed) == 2 * http_server.CONNECTION_LIMIT


@in_trio
async def test_a_queue_of_connections_is_worked_off_and_a_lack_of_descriptors_outlived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=300)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(300)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = open_fds() + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    closed: list[int] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HttpServer(answer_or_hold, closed.append).serve, listener)
            await trio.sleep(1)
            assert "accept on the API" in caplog.text
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            await trio.sleep(1)
            assert len(closed) == 300 - http_server.CONNECTION_LIMIT
            nursery.cancel_scope.cancel()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for sock in [listener, *clients]:
            sock.close()


# -- whose a connection is -------------------------------------------------------------------------------


def connected_as(user: int, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    os.seteuid(user)
    try:
        client = socket.socket(listener.family)
    finally:
        os.seteuid(0)
    client.connect(listener.getsockname())
    return client, listener.accept()[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
@pytest.mark.parametrize("user", [0, NOBODY])
def test_the_user_of_a_tcp_connection_is_known(family: int, address: str, user: int) -> None:
    async def look() -> tuple[int, int]:
        with socket.create_server((address, 0), family=family) as listener:
            client, accepted = connected_as(user, listener)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(accepted)) as stream:
                with client:
                    found = user_of(stream)
                return found, user_of(stream)

    assert trio.run(look) == (user, UNKNOWN)


@in_trio
async def test_the_user_of_a_unix_connection_is_known_and_other_streams_have_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))
        async with trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0])) as stream:
            assert user_of(stream) == os.geteuid()
    assert user_of(trio.testing.memory_stream_pair()[0]) == UNKNOWN


# -- the registration socket -----------------------------------------------------------------------------


@in_trio
async def test_a_shim_is_heard_at_once_among_thousands_who_say_nothing(path: str, pipes: list[Pipes]) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with serving(path) as registrar, AsyncExitStack() as clients:
        for _ in range(5000):
            await clients.enter_async_context(await registrar.connect())
        assert await registrar.ask(REGISTER, pipes[0].line) == b"ok\n"
        assert trio.current_time() < 0.1
        tasks = trio.lowlevel.current_statistics().tasks_living - before
        assert tasks <= registration.CONNECTION_LIMIT + 10


@in_trio
async def test_half_a_message_and_its_descriptors_go_when_the_place_is_needed(
    path: str, pipes: list[Pipes]
) -> None:
    async with serving(path) as registrar, AsyncExitStack() as clients:
        first = await clients.enter_async_context(await registrar.connect())
        await registrar.send(first, REGISTER[:-1], pipes[0].line)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(registration.CONNECTION_LIMIT):
            await clients.enter_async_context(await registrar.connect())
        assert (await answer(first)).startswith(b"refused")
        assert trio.current_time() < 0.1
        pipes[0].close(*pipes[0].line)
        with pytest.raises(BrokenPipeError):
            os.write(pipes[0].lease, b"x")


@in_trio
async def test_shims_are_looked_for_once_a_flood_is_over(path: str) -> None:
    async with serving(path) as registrar:
        async with AsyncExitStack() as clients:
            for _ in range(registration.CONNECTION_LIMIT + 1):
                await clients.enter_async_context(await registrar.connect())
            await trio.testing.wait_all_tasks_blocked()
            assert registrar.state.searches == 0
        await trio.sleep(2 * registration.CALM)
        assert registrar.state.searches == 1
        await trio.sleep(100)
        assert registrar.state.searches == 1


@in_trio
async def test_shims_are_looked_for_during_a_flood_that_does_not_end(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "CONNECTION_LIMIT", 4)
    async with serving(path) as registrar, AsyncExitStack() as clients:
        while trio.current_time() < 3 * registration.NO_CALM:
            for _ in range(registration.CONNECTION_LIMIT):
                await clients.enter_async_context(await registrar.connect())
            await trio.sleep(registration.CALM / 2)
            await clients.pop_all().aclose()
        assert registrar.state.searches == 3


@in_trio
async def test_a_claim_that_waits_is_not_put_out(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(*args: object) -> bool:
        await trio.sleep(1)
        return True

    monkeypatch.setattr(QuietState, "wait_until_free", wait)
    async with serving(path) as registrar, AsyncExitStack() as clients:
        claim = await clients.enter_async_context(await registrar.connect())
        await registrar.send(claim, CLAIM, [])
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2 * registration.CONNECTION_LIMIT):
            await clients.enter_async_context(await registrar.connect())
        assert await answer(claim) == b"free\n"
