"""Why Envoy refused a listener: what its admin's dump says, and which admins are asked at all."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from shim.core.discovery import Session
from shim.core.resources import HttpOptions
from shim.core.templates import Templates
from shim.registrar import refusals
from shim.registrar.refusals import inspect_refusals, rejections
from shim.registrar.state import State


def failed(name: str | None, details: object = "cannot bind", inner: object = None) -> dict[str, Any]:
    """A listener's entry in the dump, as Envoy writes it for one that it did not take."""
    error = {"details": details, "failed_configuration": inner}
    return {"error_state": error} if name is None else {"name": name, "error_state": error}


@pytest.mark.parametrize(
    ("configs", "found"),
    [
        ([], {}),
        (None, {}),
        ([{"name": "a", "active_state": {}}], {}),
        ([failed("a")], {"a": "cannot bind"}),
        ([failed("a"), {"name": "b"}, failed("c", "no")], {"a": "cannot bind", "c": "no"}),
        ([failed(None, inner={"name": "a"})], {"a": "cannot bind"}),
        ([failed("a"), failed(None, "again", {"name": "a"})], {"a": "again"}),
        ([failed(None), failed(""), failed(None, inner={})], {}),
        ([failed("a", ""), failed("b", None)], {"a": "no reason given", "b": "no reason given"}),
        ([failed("a", 7)], {"a": "7"}),
        ([failed("a", "x" * 300)], {"a": "x" * 300}),
        ([failed("a", "{" * 9000 + "y" * 300)], {"a": "... " + "y" * 300}),
        (["text", 1, None, [], {"name": "a", "error_state": "text"}], {}),
    ],
)
def test_a_dump_is_read_for_what_was_refused_and_why(configs: object, found: dict[str, str]) -> None:
    assert rejections({"configs": configs}) == found


@pytest.mark.parametrize("dump", [None, [], "text", 7])
def test_what_is_no_dump_is_said_to_be_none(dump: object) -> None:
    with pytest.raises(ValueError, match="not a config dump"):
        rejections(dump)


# -- asking --------------------------------------------------------------------------------------------


class Admin:
    """An Envoy's admin on a real socket, that gives one prepared answer to whoever asks."""

    def __init__(self) -> None:
        self.answer = b""
        self.asked: list[bytes] = []

    def says(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.asked.append((await stream.receive_some()).split(b"\r\n")[0])
        await stream.send_all(self.answer)


Ask = Callable[[Session], Awaitable[dict[str, str]]]


@asynccontextmanager
async def asking(admin: Admin) -> AsyncIterator[tuple[str, Ask]]:
    """The admin's address, and what asks an Envoy about its refusals."""
    send, receive = trio.open_memory_channel[Session](0)
    state = State(Templates(HttpOptions()), "http", trio.current_time)

    async def ask(session: Session) -> dict[str, str]:
        await send.send(session)
        # There is no buffer, and one task that takes: it is done with the first when it takes the second.
        await send.send(Session("nobody", "no address", 0.0))
        return session.rejected

    async with trio.open_nursery() as nursery:
        serve: Any = partial(trio.serve_tcp, admin.serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(inspect_refusals, receive, state, address)
        yield address, ask
        nursery.cancel_scope.cancel()
    state.lines.close()


def test_an_envoy_is_asked_where_it_says_or_else_where_the_configuration_does() -> None:
    async def main() -> None:
        admin = Admin()
        admin.says({"configs": [failed("tcp/0.0.0.0:80")]})
        async with asking(admin) as (address, ask):
            for said in (address, ""):
                assert await ask(Session("one", said, 0.0)) == {"tcp/0.0.0.0:80": "cannot bind"}
            assert admin.asked == [f"GET {refusals.QUESTION} HTTP/1.1".encode()] * 2

    trio.run(main)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_an_admin_that_answers_nonsense_changes_nothing_and_the_next_is_asked(answer: bytes) -> None:
    async def main() -> None:
        admin = Admin()
        async with asking(admin) as (address, ask):
            session = Session("one", address, 0.0)
            session.rejected = {"a": "known before"}
            admin.answer = answer
            assert await ask(session) == {"a": "known before"}
            admin.says({})
            assert await ask(session) == {}

    trio.run(main)


@pytest.mark.parametrize(
    "address", ["10.0.0.1:9901", "example.test:80", "127.0.0.1", "127.0.0.1:x", "/run/x"]
)
def test_an_admin_that_is_not_on_this_host_is_never_asked(address: str) -> None:
    """What an Envoy says of its address is what anybody may say."""

    async def main() -> None:
        admin = Admin()
        admin.says({"configs": [failed("a")]})
        async with asking(admin) as (_, ask):
            with trio.fail_after(2):  # less than a connection to nowhere takes
                assert await ask(Session("one", address, 0.0)) == {}
        assert admin.asked == []

    trio.run(main)
