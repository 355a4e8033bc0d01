"""Connections in great number that never end well, from a process (and, if wanted, a user) of their own.

Run as a program, in any namespace:  flooder.py KIND ADDRESS COUNT [UID]
ADDRESS is host:port or the path of a Unix socket.  A connection that is closed on it is opened again.
It prints "flooding" once every connection was tried, and goes on until it is killed.
"""

import asyncio
import itertools
import json
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
numbers = itertools.count()
HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Half a registration, and half a request's first line."""
    writer.write(b"register\0-proto")
    await reader.read()


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /")
    while not reader.at_eof():
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.5)


async def headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\n")
    while True:
        writer.write(b"X-Header: %s\r\n" % (b"a" * 1000))
        await writer.drain()


async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """100 MB, announced."""
    writer.write(b"POST /v3/discovery:listeners HTTP/1.1\r\n" + HEAD + b"Content-Length: 100000000\r\n\r\n")
    for _ in range(1600):
        writer.write(b"[" * 62500)
        await writer.drain()


async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /v3/discovery:listeners HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"[" * 65536 + b"\r\n")
        await writer.drain()


async def almost(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As much of a body as is taken, but for its end."""
    writer.write(b"POST /v3/discovery:listeners HTTP/1.1\r\n" + HEAD + b"Content-Length: 262144\r\n\r\n")
    writer.write(b"[" * 262143)
    await reader.read()


async def polls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An Envoy that nobody knows, with a large request, for ever."""
    node = f"made-up-{os.getpid()}-{next(numbers)}"
    body = json.dumps({"node": {"id": node}, "a": [[]] * 60000}).encode()
    writer.write(b"POST /v3/discovery:listeners HTTP/1.1\r\n" + HEAD)
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    while await reader.read(65536):
        pass


async def pages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks, and does not read."""
    for _ in range(1000):
        writer.write(b"GET /status HTTP/1.1\r\n" + HEAD + b"\r\n")
        await writer.drain()
    await asyncio.sleep(3600)


async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A connection a request, as fast as can be."""
    writer.write(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n")
    await reader.read()


async def nodes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Another node id with every request."""
    while True:
        body = json.dumps({"node": {"id": f"made-up-{os.getpid()}-{next(numbers)}"}}).encode()
        writer.write(b"POST /v3/discovery:clusters HTTP/1.1\r\n" + HEAD)
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if not await reader.read(65536):
            return


KINDS: dict[str, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]] = {
    kind.__name__: kind
    for kind in (silent, half, slow, headers, large, chunked, almost, polls, pages, hasty, nodes)
}


async def connect(address: str) -> Connection:
    if address.startswith("/"):
        return await asyncio.open_unix_connection(address)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), family=socket.AF_INET)


async def flood(kind: str, address: str, count: int) -> None:
    tried: set[int] = set()
    all_tried = asyncio.Event()

    async def one(number: int) -> None:
        while True:
            try:
                reader, writer = await connect(address)
            except OSError:
                writer = None
            tried.add(number)
            if len(tried) == count:
                all_tried.set()
            if writer is not None:
                try:
                    await KINDS[kind](reader, writer)
                except OSError:
                    pass
                writer.transport.abort()
            # What is refused is tried again, but leaves a processor for others.
            await asyncio.sleep(2.0 if kind != "hasty" else 0)

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await all_tried.wait()
    print("flooding", flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if len(sys.argv) > 4:
        os.setgroups([])
        os.setgid(int(sys.argv[4]))
        os.setuid(int(sys.argv[4]))
    asyncio.run(flood(sys.argv[1], sys.argv[2], int(sys.argv[3])))
