"""The HTTP server of the registrar: who may connect, and who has to go.

Any local user may connect.  So what there is of connections and of memory is shared out by user: who comes
when all is taken gets a place, and it is taken from the user who has most.
"""

import itertools
import logging
import socket
from collections import Counter
from collections.abc import Callable, Collection

import h11
import trio

from shim.registrar.http_connection import Connection, Handler, Request, Response

log = logging.getLogger("envoy-docker-shim")

# An Envoy has two.  Times http_connection.BODY_LIMIT: what requests can take of memory.
CONNECTION_LIMIT = 128
# Those are there for a moment before they are counted.
ACCEPTED_AT_ONCE = 32
# What answers that are not read can take of it; one alone may be larger.
ANSWERS_LIMIT = 32 << 20
# How often (seconds) it is said that somebody was put out.
COMPLAINT_PAUSE = 10.0


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
        self._connections: set[Connection] = set()
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
        connection = Connection(stream, identity, self._user_of(stream), self._handle, self._share_memory)
        if len(self._connections) >= CONNECTION_LIMIT:
            self._end(least_worth(self._connections), f"more than {CONNECTION_LIMIT} connections")
        self._connections.add(connection)
        try:
            async with stream:
                with connection.scope:
                    await connection.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except h11.LocalProtocolError:
            log.exception("API: an answer that cannot be sent; this connection is ended")
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

    def _end(self, connection: Connection, reason: str) -> None:
        self._connections.discard(connection)
        connection.scope.cancel()
        if trio.current_time() >= self._complain_at:
            self._complain_at = trio.current_time() + COMPLAINT_PAUSE
            log.warning("API: %s: some of user %d's are ended", reason, connection.user)


def least_worth(connections: Collection[Connection]) -> Connection:
    """Which one a newcomer takes the place of.

    Of the user who has most: one that has asked nothing yet, the oldest first; else one that asks nothing
    now, the longest silent first; else the youngest, as it is no Envoy that has been there for long.
    """
    users = Counter(connection.user for connection in connections)
    most = max(users.values())

    def worth(connection: Connection) -> tuple[int, float, int]:
        if connection.working:
            return 2, 0, -connection.identity
        return int(connection.served), connection.since, connection.identity

    return min((c for c in connections if users[c.user] == most), key=worth)


def slowest(writing: Collection[Connection]) -> Connection:
    """Of those who take an answer: of the user for whom most is held, the one who has been at it longest."""
    users: Counter[int] = Counter()
    for connection in writing:
        users[connection.user] += connection.writing
    most = max(users.values())
    return min((c for c in writing if users[c.user] == most), key=lambda c: (c.since, c.identity))
