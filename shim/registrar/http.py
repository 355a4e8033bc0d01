"""HTTP/1.1 for a few well-known clients: h11 on trio streams, with a bound on everything.

It knows nothing of xDS: a handler takes a Request and returns a Response.  While the handler works
(a long poll may take 45 s) the connection is watched, and the handler cancelled when the client goes.

Any local user may connect.  So what there is of connections and of memory is shared out by user: who comes
when all is taken gets a place, and it is taken from the user who has most.
"""

import itertools
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

import h11
import trio

log = logging.getLogger("envoy-docker-shim")

# Envoy 1.40's own poll is 77 kB, nearly all of it the list of its extensions.
BODY_LIMIT = 1 << 18
# A request's head and body must be in within this (seconds) of its first byte.
REQUEST_PATIENCE = 10.0
# A kept-alive connection may be silent this long (seconds): Envoy keeps its own between polls.
IDLE_PATIENCE = 120.0
WRITE_PATIENCE = 30.0
# An Envoy has two.  Times BODY_LIMIT: what requests can take of memory.
CONNECTION_LIMIT = 128
# Those are there for a moment before they are counted.
ACCEPTED_AT_ONCE = 32
# What answers that are not read can take of it; one alone may be larger.
ANSWERS_LIMIT = 32 << 20
# How often (seconds) it is said that somebody was put out.
COMPLAINT_PAUSE = 10.0


class Request(NamedTuple):
    """``connection`` tells connections apart for as long as the server runs."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


class Parts(Protocol):
    """A body that is made while it is sent: its whole length, and its parts."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


class Response(NamedTuple):
    status: int
    body: bytes | Parts = b""
    content_type: str = "application/json"


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """``handler`` answers; ``on_close(connection)`` hears of every connection that ended.

    ``user_of`` tells whose a connection is.
    """

    def __init__(
        self,
        handler: Handler,
        on_close: Callable[[int], None],
        user_of: Callable[[trio.abc.Stream], int] = lambda stream: 0,
    ) -> None:
        self._handler = handler
        self._on_close = on_close
        self._user_of = user_of
        self._ids = itertools.count(1)
        self._connections: set[_Connection] = set()
        self._turn = trio.Lock()
        self._complain_at = 0.0

    async def serve(self, sock: socket.socket) -> None:
        """Accept for ever on ``sock``, which listens.

        Many at a time: where the queue is full, the kernel leaves newcomers out for seconds.
        """
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(sock)
                try:
                    for _ in range(ACCEPTED_AT_ONCE):
                        connection = trio.socket.from_stdlib_socket(sock.accept()[0])
                        nursery.start_soon(self.attend, trio.SocketStream(connection))
                except BlockingIOError:
                    pass
                except OSError as error:
                    # Out of descriptors, say: what is queued waits.
                    log.error("accept on the API's socket: %s", error)
                    await trio.sleep(0.1)

    async def attend(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one connection until it ends; never raises for what the client does."""
        identity = next(self._ids)
        connection = _Connection(stream, identity, self._user_of(stream), self._handle, self._share_memory)
        if len(self._connections) >= CONNECTION_LIMIT:
            self._end(least_worth(self._connections), f"more than {CONNECTION_LIMIT} connections")
        self._connections.add(connection)
        try:
            async with stream:
                with connection.scope:
                    await connection.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        finally:
            self._connections.discard(connection)
            self._on_close(identity)

    async def _handle(self, request: Request) -> Response:
        # One at a time until it first waits: however many there are, what else the process has to do is
        # done between any two.
        async with self._turn:
            pass
        return await self._handler(request)

    def _share_memory(self) -> None:
        """An answer is about to be written."""
        while True:
            writing = [connection for connection in self._connections if connection.writing]
            total = sum(connection.writing for connection in writing)
            if total <= ANSWERS_LIMIT or len(writing) < 2:
                return
            self._end(slowest(writing), f"more than {ANSWERS_LIMIT >> 20} MB of answers nobody reads")

    def _end(self, connection: "_Connection", reason: str) -> None:
        self._connections.discard(connection)
        connection.scope.cancel()
        if trio.current_time() >= self._complain_at:
            self._complain_at = trio.current_time() + COMPLAINT_PAUSE
            log.warning("API: %s: some of user %d's are ended", reason, connection.user)


def least_worth(connections: "Collection[_Connection]") -> "_Connection":
    """Which one a newcomer takes the place of.

    Of the user who has most: one that has asked nothing yet, the oldest first; else one that asks nothing
    now, the longest silent first; else the youngest, as it is no Envoy that has been there for long.
    """
    users = Counter(connection.user for connection in connections)
    most = max(users.values())

    def worth(connection: _Connection) -> tuple[int, float, int]:
        if connection.working:
            return 2, 0, -connection.identity
        return int(connection.served), connection.since, connection.identity

    return min((c for c in connections if users[c.user] == most), key=worth)


def slowest(writing: "Collection[_Connection]") -> "_Connection":
    """Of those who take an answer: of the user for whom most is held, the one who has been at it longest."""
    users: Counter[int] = Counter()
    for connection in writing:
        users[connection.user] += connection.writing
    most = max(users.values())
    return min((c for c in writing if users[c.user] == most), key=lambda c: (c.since, c.identity))


class _Connection:
    """``working``: a request is being answered; ``since``: when that, or the wait for one, began."""

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        identity: int,
        user: int,
        handler: Handler,
        before_answer: Callable[[], None],
    ) -> None:
        self._stream = stream
        self.identity = identity
        self.user = user
        self._handler = handler
        self._before_answer = before_answer
        self._h11 = h11.Connection(h11.SERVER)
        self.scope = trio.CancelScope()
        self.served = False
        self.working = False
        self.writing = 0  # bytes of the answer that is being written
        self.since = trio.current_time()

    async def run(self) -> None:
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
            await self._send(response, body=request.method != "HEAD")
            self.working = False
            self.since = trio.current_time()
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _receive(self) -> Request | None:
        """The next request, or None when the client is done."""
        head: h11.Request | None = None
        body = bytearray()
        begun = bool(self._h11.trailing_data[0])
        deadline = trio.current_time() + (REQUEST_PATIENCE if begun else IDLE_PATIENCE)
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                with trio.fail_at(deadline):
                    data = await self._stream.receive_some(65536)
                if not begun:
                    begun = True
                    deadline = trio.current_time() + REQUEST_PATIENCE
                self._h11.receive_data(bytes(data))
            elif isinstance(event, h11.Request):
                head = event
                if head.method == b"CONNECT":
                    # An answer of 200 to that would end HTTP on this connection.
                    raise h11.RemoteProtocolError("there are no tunnels here", 405)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_LIMIT:
                    raise h11.RemoteProtocolError(f"body of more than {BODY_LIMIT} bytes", 413)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in head.headers}
                method, target = head.method.decode("latin-1"), head.target.decode("latin-1")
                return Request(method, target, headers, bytes(body), self.identity)
            else:  # ConnectionClosed, PAUSED
                return None

    async def _answer(self, request: Request) -> Response | None:
        """The handler's response, or None if the client went away meanwhile."""
        response: Response | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                try:
                    early = await self._stream.receive_some(65536)
                except trio.BrokenResourceError:
                    early = bytearray()
                # A pipelined request is kept; nothing at all means that nobody waits any more.
                self._h11.receive_data(bytes(early))
                if not early:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            response = await self._handler(request)
            nursery.cancel_scope.cancel()
        return response

    async def _send(self, response: Response, body: bool = True) -> None:
        headers = [("content-type", response.content_type), ("content-length", str(len(response.body)))]
        if response.status == 304:
            headers = []
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self.since = trio.current_time()
        self.writing = len(response.body)
        self._before_answer()
        parts = [response.body] if isinstance(response.body, bytes) else response.body
        unsent: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if body and response.status != 304:
            for part in parts:
                await self._write(*unsent, h11.Data(data=part))
                unsent = []
        await self._write(*unsent, h11.EndOfMessage())
        self.writing = 0

    async def _write(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        if data:
            with trio.fail_after(WRITE_PATIENCE):
                await self._stream.send_all(data)
