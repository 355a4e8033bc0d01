"""The HTTP server of the registrar: who may connect, and who has to go.

Any local user may connect.  So what there is of connections, of memory and of time is shared out by user
(see shares.py and turns.py): who comes when all is taken gets a place, and it is taken from the user who has
most.  Trusted users' connections (Envoy's, root's) are counted by themselves: no other can take their place.
"""

import itertools
import logging
import socket
from collections.abc import Callable

import h11
import trio

from shim.registrar.http_connection import Connection, Handler
from shim.registrar.shares import least_worth, share_of, slowest
from shim.registrar.turns import TRUSTED, Turns

log = logging.getLogger("envoy-docker-shim")

# Of trusted users, and of all others.  An Envoy has two.  Times http_connection.BODY_LIMIT: what requests
# can take of memory.
CONNECTION_LIMIT = 128
# Those are there for a moment before they are counted.  Half a millisecond each, where they take the places
# of others: with more, all else is late while somebody connects as fast as he can.
ACCEPTED_AT_ONCE = 8
# What answers that are not read can take of it; one alone may be larger.
ANSWERS_LIMIT = 32 << 20
# How often (seconds) it is said that somebody was put out.
COMPLAINT_PAUSE = 10.0


class HttpServer:
    """``handler`` answers; ``on_close(connection)`` hears of every connection that ended.

    ``user_of`` tells whose a connection is, and ``trusts`` whether that user is one whose work everybody
    waits for.
    """

    def __init__(
        self,
        handler: Handler,
        on_close: Callable[[int], None],
        user_of: Callable[[trio.abc.Stream], int] = lambda stream: 0,
        trusts: Callable[[int], bool] = lambda user: False,
    ) -> None:
        self._handler = handler
        self._on_close = on_close
        self._user_of = user_of
        self._ids = itertools.count(1)
        self._connections: set[Connection] = set()
        self._trusts = trusts
        # However much there is to be answered, what else the process has to do is done in between.
        self._turns = Turns()
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
        connection = Connection(
            stream,
            identity,
            self._user_of(stream),
            self._handler,
            self._share_memory,
            self._turns,
            self._share_of,
        )
        if not self._make_place_for(connection):
            await trio.aclose_forcefully(stream)
            return
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

    def _share_of(self, user: int) -> int:
        return share_of(user, self._trusts(user))

    def _make_place_for(self, newcomer: Connection) -> bool:
        """Says whether it may stay."""
        trusted = newcomer.share == TRUSTED
        rivals = [connection for connection in self._connections if (connection.share == TRUSTED) == trusted]
        if len(rivals) < CONNECTION_LIMIT:
            return True
        ended = least_worth(rivals, newcomer.share)
        self._end(ended or newcomer, f"more than {CONNECTION_LIMIT} connections")
        return ended is not None

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
