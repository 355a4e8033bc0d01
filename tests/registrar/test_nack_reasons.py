"""Asking an Envoy's admin why it refuses: the address comes from whoever polls, and so does the answer."""

import json
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from shim.core.discovery.sessions import Session
from shim.registrar.nack_reasons import admin_of, inspect_nacks, local_admin, rejections
from tests.builders import QuietState

LISTENER = "tcp/0.0.0.0:80"


@pytest.mark.parametrize("admin", ["127.0.0.1:9901", "127.1.2.3:1", "[::1]:65535", "unix:/run/a.sock"])
def test_an_address_of_this_host_is_asked(admin: str) -> None:
    assert str(local_admin(admin)) == admin


@pytest.mark.parametrize(
    "admin",
    [
        "",
        "10.0.0.1:80",
        "localhost:80",
        "::1:80",
        "::1%x@192.0.2.1:80",
        "::1%a/b:80",
        "[::1%lo]:80",
        "[::1]]]:1",
        "[127.0.0.1]:1",
        "127.0.0.1:" + "9" * 30,
        "127.0.0.1:\u0661",
        "127.0.0.1:1/x?",
        "unix:run/a.sock",
        "unix:/" + 110 * "a",
    ],
)
def test_nothing_else_is(admin: str) -> None:
    with pytest.raises(ValueError):
        local_admin(admin)


@asynccontextmanager
async def admin_that_says(body: bytes) -> AsyncIterator[str]:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            await stream.send_all(head + body)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        port: int = listener.socket.getsockname()[1]
        yield f"127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def asked(*admins: str, good: bytes) -> dict[str, str]:
    """The reasons that a good Envoy gives after these others have been asked."""

    async def run() -> dict[str, str]:
        state = QuietState()
        state.registry.listeners.put(LISTENER, (b"{}",))
        send, receive = trio.open_memory_channel[Session](len(admins) + 1)
        async with admin_that_says(good) as address:
            sessions = [Session("node", admin, 0.0, os.geteuid()) for admin in [*admins, address]]
            for session in sessions:
                send.send_nowait(session)
            send.close()
            with trio.fail_after(10):
                await inspect_nacks(receive, state, "127.0.0.1:1")
        assert not any(session.rejected for session in sessions[:-1])
        return sessions[-1].rejected

    return trio.run(run)


def dump(name: object, details: object = "taken") -> bytes:
    return json.dumps({"configs": [{"name": name, "error_state": {"details": details}}]}).encode()


def test_an_address_that_leads_nowhere_hinders_no_other() -> None:
    wrong = ("[::1]]]:1", "::1:1", "127.0.0.1:" + "9" * 30, "::1%x@192.0.2.1:80", "127.0.0.1:1")
    assert asked(*wrong, good=dump(LISTENER)) == {LISTENER: "taken"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"configs": 5}',
        b'{"configs": [5, {"error_state": 5}, {"error_state": {"failed_configuration": "x"}}]}',
        dump("of a port that is not ours"),
    ],
)
def test_an_answer_that_is_none_is_no_reason(body: bytes) -> None:
    assert asked(good=body) == {}


def test_a_long_reason_is_cut_to_its_end() -> None:
    found = asked(good=dump(LISTENER, "a" * 10_000 + "cannot bind"))
    assert len(found[LISTENER]) < 400
    assert found[LISTENER].endswith("cannot bind")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_envoys_admin_is_where_its_own_user_listens() -> None:
    """Whatever address a client says, and whoever listens where Envoy's ought to be."""

    def listen(user: int) -> socket.socket:
        os.seteuid(user)
        try:
            return socket.create_server(("127.0.0.1", 0))
        finally:
            os.seteuid(0)

    with listen(0) as roots, listen(101) as envoys:
        root, envoy = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (roots, envoys))
        for said, configured, user, found in (
            (envoy, root, 101, envoy),
            (root, envoy, 101, envoy),
            ("10.0.0.1:1", envoy, 101, envoy),
            ("", root, 0, root),
            (root, root, 101, ""),
            (envoy, envoy, 0, ""),
            (envoy, envoy, 65534, ""),
        ):
            session = Session("node", said, 0.0, user)
            if found:
                assert str(admin_of(session, configured)) == found
            else:
                with pytest.raises(ValueError, match="has none there"):
                    admin_of(session, configured)


def test_what_is_said_makes_no_lines_and_no_colours(caplog: pytest.LogCaptureFixture) -> None:
    forged = "no\n2026 ERROR forged \x1b[2J\u202e\x9b31m end"
    found = asked("127.0.0.1:1", good=dump(LISTENER, forged))
    assert found[LISTENER].startswith("no 2026 ERROR forged") and found[LISTENER].isprintable()
    assert "refuses the listener" in caplog.text
    assert all(re.fullmatch(r"[ -~]*", record.getMessage()) for record in caplog.records)


def test_one_that_is_named_in_what_was_refused_only_is_found_all_the_same() -> None:
    error = {"details": "taken", "failed_configuration": {"name": LISTENER, "address": {}}}
    assert asked(good=json.dumps({"configs": [{"error_state": error}]}).encode()) == {LISTENER: "taken"}


def test_an_answer_is_no_larger_than_what_listeners_there_are() -> None:
    assert asked(good=dump(LISTENER, "x" * (2 << 20))) == {}


# -- reading the dump ----------------------------------------------------------------------------------------


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
