"""Questions to an HTTP server on this host that need not be trusted: answers are read whole, and bounded."""

from collections.abc import Mapping
from typing import NamedTuple

import h11
import trio

from shim.core.endpoint import Endpoint


class Reply(NamedTuple):
    """``headers`` in the order in which they came, their names in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytearray


async def read_page(server: Endpoint, target: str, limit: int) -> bytearray:
    """The body that ``server`` answers to GET: status 200, and at most ``limit`` bytes.

    Raises OSError: no connection; ValueError: another answer.  The caller bounds the time.
    """
    reply = await ask(server, target, limit)
    if reply.status != 200:
        raise ValueError(f"it answers {reply.status}")
    return reply.body


async def ask(server: Endpoint, target: str, limit: int, headers: Mapping[str, str] | None = None) -> Reply:
    """What ``server`` answers to GET, whatever its status, with a body of at most ``limit`` bytes.

    Raises OSError: no connection; ValueError: no such answer.  The caller bounds the time.
    """
    try:
        if server.path:
            stream = await trio.open_unix_socket(server.path)
        else:
            stream = await trio.open_tcp_stream(server.host, server.port)
        async with stream:
            return await _exchange(stream, target, limit, headers or {})
    except trio.BrokenResourceError as error:
        raise OSError(str(error)) from None
    except h11.ProtocolError as error:
        raise ValueError(str(error)) from None


async def _exchange(stream: trio.SocketStream, target: str, limit: int, headers: Mapping[str, str]) -> Reply:
    connection = h11.Connection(h11.CLIENT)
    said = [("Host", "localhost"), ("Connection", "close"), *headers.items()]
    question = connection.send(h11.Request(method="GET", target=target, headers=said))
    await stream.send_all((question or b"") + (connection.send(h11.EndOfMessage()) or b""))
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                raise ValueError(f"its answer is too large: more than {limit} bytes")
            # An answer in chunks of one byte must not keep the thread.
            await trio.lowlevel.checkpoint()
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Reply(head.status_code, list(head.headers), body)
        elif isinstance(event, h11.ConnectionClosed):
            raise ValueError("it has no answer")
