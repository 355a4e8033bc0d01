"""One page of an HTTP server on this host that need not be trusted: read whole, within a bound."""

import h11
import trio

from shim.core.endpoint import Endpoint


async def read_page(server: Endpoint, target: str, limit: int) -> bytearray:
    """The body that ``server`` answers to GET: status 200, and at most ``limit`` bytes.

    Raises OSError: no connection; ValueError: another answer.  The caller bounds the time.
    """
    try:
        if server.path:
            stream = await trio.open_unix_socket(server.path)
        else:
            stream = await trio.open_tcp_stream(server.host, server.port)
        async with stream:
            return await _read(stream, target, limit)
    except trio.BrokenResourceError as error:
        raise OSError(str(error)) from None
    except h11.ProtocolError as error:
        raise ValueError(str(error)) from None


async def _read(stream: trio.SocketStream, target: str, limit: int) -> bytearray:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "localhost"), ("Connection", "close")]
    question = connection.send(h11.Request(method="GET", target=target, headers=headers))
    await stream.send_all((question or b"") + (connection.send(h11.EndOfMessage()) or b""))
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            if event.status_code != 200:
                raise ValueError(f"it answers {event.status_code}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                raise ValueError("its answer is too large")
            # An answer in chunks of one byte must not keep the thread.
            await trio.lowlevel.checkpoint()
        elif isinstance(event, h11.EndOfMessage):
            return body
        elif isinstance(event, h11.ConnectionClosed):
            raise ValueError("it has no answer")
