"""The HTTP server of the registrar: which connections it has, and which it closes when there are too many.

Any local user may connect.  So connections, memory and time are divided by user (see shares.py and turns.py):
a connection above the limit evicts one of the user with the most.  The connections of trusted users (Envoy's,
root's) are counted by themselves: no other user's can evict one.
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

# Connections of trusted users, and as many of all others; an Envoy has two.  With http_connection.BODY_LIMIT
# bytes each, that is the memory that requests can take.
CONNECTION_LIMIT = 128
# Connections accepted before any of them is counted: so many may be above the limit for a moment.  Each
# takes half a millisecond where it evicts another: more would delay all other work during a flood.
ACCEPTED_AT_ONCE = 8
# Bytes of memory that unread answers can take; a single one may be larger.
ANSWERS_LIMIT = 32 << 20
# Evictions are logged at most this often (seconds).
COMPLAINT_PAUSE = 10.0


class HttpServer:
    """``handler`` answers; ``on_close(connection)`` is called for every connection that ended.

    ``user_of`` tells whose a connection is, and ``trusts`` whether that user's Envoy counts: ports wait for
    its requests.
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
        self._ending: set[Connection] = set()  # have lost their place, and close when their tasks run next
        self._trusts = trusts
        # However many requests there are, other work of the process is done in between.
        self._turns = Turns()
        self._complain_at = 0.0

    async def serve(self, sock: socket.socket) -> None:
        """Accept on ``sock``, which listens.  Does not return.

        Many at a time: where the queue is full, the kernel makes new clients wait for seconds.
        """
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(sock)
                if len(self._ending) >= ACCEPTED_AT_ONCE:
                    # Their descriptors are open still.  All of them are cancelled: it takes them a few turns.
                    await trio.lowlevel.checkpoint()
                    continue
                try:
                    for _ in range(ACCEPTED_AT_ONCE):
                        connection = trio.socket.from_stdlib_socket(sock.accept()[0])
                        nursery.start_soon(self.attend, trio.SocketStream(connection))
                except BlockingIOError:
                    pass
                except OSError as error:
                    # No descriptor is free, for example: connections wait in the queue.
                    log.error("accept on the API's socket: %s", error)
                    await trio.sleep(0.1)

    async def attend(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Serve one connection until it ends.  Nothing that a client does is raised."""
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
            self._ending.discard(connection)
            self._on_close(identity)

    def _share_of(self, user: int) -> int:
        return share_of(user, self._trusts(user))

    def _make_place_for(self, newcomer: Connection) -> bool:
        """Evict a connection if there are too many; returns whether the new one may stay."""
        trusted = newcomer.share == TRUSTED
        rivals = [connection for connection in self._connections if (connection.share == TRUSTED) == trusted]
        if len(rivals) < CONNECTION_LIMIT:
            return True
        ended = least_worth(rivals, newcomer.share)
        self._end(ended or newcomer, f"more than {CONNECTION_LIMIT} connections")
        return ended is not None

    def _share_memory(self) -> None:
        """Before an answer is written: close the slowest connections while answers take too much memory."""
        while True:
            writing = [connection for connection in self._connections if connection.writing]
            total = sum(connection.writing for connection in writing)
            if total <= ANSWERS_LIMIT or len(writing) < 2:
                return
            self._end(slowest(writing), f"more than {ANSWERS_LIMIT >> 20} MB of answers nobody reads")

    def _end(self, connection: Connection, reason: str) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._ending.add(connection)
        connection.scope.cancel()
        if trio.current_time() >= self._complain_at:
            self._complain_at = trio.current_time() + COMPLAINT_PAUSE
            log.warning("API: %s: some of user %d's are ended", reason, connection.user)
