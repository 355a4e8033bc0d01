"""HTTP/1.1 on one connection: h11 on a trio stream, with a bound on everything.

Nothing here is about xDS: a handler takes a Request and returns a Response.  While the handler works (a long
poll may take 45 s) the connection is watched, and the handler is cancelled when the client closes it.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import h11
import trio

from shim.registrar.turns import TRUSTED, Turns

# Bytes of a request's body.  Envoy 1.40's poll is 77 kB, nearly all of it the list of its extensions.
BODY_LIMIT = 1 << 18
# Pieces in which a body may arrive: each costs as much as a request.
PIECES_LIMIT = 1024
# What is done in one turn: as many events of a request, or this long (seconds) with an answer.
EVENTS_A_TURN = 32
ANSWERING_A_TURN = 0.001
# Bytes that an answer of unknown length counts for in memory.
PART = 1 << 17
# A request's head and body must be in within this (seconds) of its first byte.
REQUEST_TIMEOUT = 10.0
# A kept-alive connection may be silent this long (seconds): Envoy keeps its own between polls.
IDLE_TIMEOUT = 120.0
# A client must take an answer, or some part of a long one, within this (seconds).
WRITE_TIMEOUT = 30.0


class Request(NamedTuple):
    """``connection`` is a number that no other connection of this server has; ``user`` is the client's.

    A handler may empty the body once it has read it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | bytearray
    connection: int
    user: int = 0


class Parts(Protocol):
    """A body that is made while it is sent: its whole length, and its parts."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


class Response(NamedTuple):
    """``status``: HTTP's.  A body of unknown length is an iterator of its parts; 304 has no body.

    ``headers``: further ones, with names in lower case.
    """

    status: int
    body: bytes | Parts | Iterator[bytes] = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class Connection:
    """``working``: a request is being answered; ``since``: when that, or the wait for one, began."""

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        identity: int,
        user: int,
        handler: Handler,
        before_answer: Callable[[], None],
        turns: Turns,
        share_of: Callable[[int], int],
    ) -> None:
        self._stream = stream
        self.identity = identity
        self.user = user
        self._handler = handler
        self._before_answer = before_answer
        self._turns = turns
        self._share_of = share_of
        self.share = share_of(user)
        self._h11 = h11.Connection(h11.SERVER)
        self.scope = trio.CancelScope()
        self._body_wanted = True  # not by HEAD
        self.served = self.working = False  # ``served``: a request came, at least once
        self.writing = 0  # bytes of the answer that is being written
        self.since = trio.current_time()

    async def run(self) -> None:
        """Answer one request after another until either side ends the connection.

        Raises BrokenResourceError, TooSlowError, LocalProtocolError.
        """
        while True:
            try:
                request = await self._receive()
            except h11.RemoteProtocolError as error:
                await self._send(Response(error.error_status_hint, f"{error}\n".encode(), "text/plain"))
                return
            if request is None:
                return
            self.served = self.working = True
            response = await self._answer(request)
            if response is None:
                return
            await self._send(response)
            self.working = False
            self.since = trio.current_time()
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _receive(self) -> Request | None:
        """The next request; None: the client sends no more.  Raises RemoteProtocolError for a bad one."""
        head: h11.Request | None = None
        body = bytearray()
        events = pieces = 0
        self._body_wanted = True
        begun = bool(self._h11.trailing_data[0])
        deadline = trio.current_time() + (REQUEST_TIMEOUT if begun else IDLE_TIMEOUT)
        while True:
            event = self._h11.next_event()
            events += 1
            if events % EVENTS_A_TURN == 0:
                await self._turns.take(self.share)
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                with trio.fail_at(deadline):
                    data = await self._stream.receive_some(65536)
                if not begun:
                    begun = True
                    deadline = trio.current_time() + REQUEST_TIMEOUT
                await self._turns.take(self.share)
                self._h11.receive_data(bytes(data))
            elif isinstance(event, h11.Request):
                head = event
                self.share = self._share_of(self.user)
                self._body_wanted = head.method != b"HEAD"
                if head.method == b"CONNECT":
                    # An answer of 200 to that would end HTTP on this connection.
                    raise h11.RemoteProtocolError("there are no tunnels here", 405)
            elif isinstance(event, h11.Data):
                body += event.data
                pieces += 1
                if len(body) > BODY_LIMIT:
                    raise h11.RemoteProtocolError(f"body of more than {BODY_LIMIT} bytes", 413)
                if pieces > PIECES_LIMIT:
                    raise h11.RemoteProtocolError(f"body of more than {PIECES_LIMIT} pieces", 413)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in head.headers}
                method, target = head.method.decode("latin-1"), head.target.decode("latin-1")
                return Request(method, target, headers, body, self.identity, self.user)
            else:  # ConnectionClosed, PAUSED
                return None

    async def _answer(self, request: Request) -> Response | None:
        """The handler's response; None: the client closed the connection meanwhile."""
        response: Response | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                if self._h11.trailing_data[0]:
                    # The next request is here already, and nothing is read beyond it.
                    return
                try:
                    early = await self._stream.receive_some(65536)
                except trio.BrokenResourceError:
                    early = bytearray()
                # A pipelined request is kept; no data at all means that the client waits no more.
                self._h11.receive_data(bytes(early))
                if not early:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await self._turns.take(self.share)
            response = await self._handler(request)
            nursery.cancel_scope.cancel()
        return response

    async def _send(self, response: Response) -> None:
        body = response.body
        length = None if isinstance(body, Iterator) else len(body)
        headers = [("content-type", response.content_type), *response.headers]
        if length is not None:
            headers.append(("content-length", str(length)))
        if response.status == 304:
            headers = []
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self.since = trio.current_time()
        self.writing = PART if length is None or self._is_shared(body) else length
        self._before_answer()
        parts = [body] if isinstance(body, bytes) else body
        until = trio.current_time() + ANSWERING_A_TURN
        unsent: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if self._body_wanted and response.status != 304:
            for part in parts:
                await self._write(*unsent, h11.Data(data=part))
                unsent = []
                if trio.current_time() >= until:
                    await self._turns.take(self.share)
                    until = trio.current_time() + ANSWERING_A_TURN
        await self._write(*unsent, h11.EndOfMessage())
        self.writing = 0

    def _is_shared(self, body: bytes | Parts | Iterator[bytes]) -> bool:
        """Whether it takes no memory of its own: all Envoys' configuration is made of the same pieces.

        Of others not: who reads nothing would hold on to pieces that are out of use.
        """
        return self.share == TRUSTED and not isinstance(body, bytes)

    async def _write(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        sent = _send_now(self._stream, data)
        if sent < len(data):
            with trio.fail_after(WRITE_TIMEOUT):
                await self._stream.send_all(memoryview(data)[sent:])


def _send_now(stream: trio.abc.HalfCloseableStream, data: bytes) -> int:
    """Write what the kernel takes at once; returns the bytes.  Through trio a long answer takes double."""
    try:
        return os.write(stream.socket.fileno(), data) if isinstance(stream, trio.SocketStream) else 0
    except OSError:
        return 0  # full, or broken: the stream will tell
