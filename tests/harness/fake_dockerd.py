"""A dockerd's two API calls on a real Unix socket, that can be told to misbehave.

fake = FakeDockerd(path)
nursery.start_soon(fake.serve)          # or: await nursery.start(fake.serve)
fake.containers.append({...})           # what a good /containers/json says
fake.on_list = hang                     # and from now on does not
await fake.start(container)             # adds it, and emits its start event
"""

import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import h11
import trio

Behaviour = Callable[[trio.SocketStream], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


async def hang(stream: trio.SocketStream) -> None:
    """Never answers."""
    await trio.sleep_forever()


async def drip(stream: trio.SocketStream) -> None:
    """A good answer that does not end, one byte a second."""
    await stream.send_all(OK + b"\r\n[")
    while True:
        await trio.sleep(1)
        await stream.send_all(b" ")


def raw(data: bytes) -> Behaviour:
    """Sends these bytes and closes."""

    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(data)

    return behave


def body(data: bytes, status: int = 200) -> Behaviour:
    """A whole answer with this body."""
    head = OK.replace(b"200 OK", b"%d X" % status)
    return raw(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)


def then_hang(first: Behaviour) -> Behaviour:
    """The same, but the connection stays open."""

    async def behave(stream: trio.SocketStream) -> None:
        await first(stream)
        await trio.sleep_forever()

    return behave


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def start_event(identity: str) -> bytes:
    return json.dumps({"Type": "container", "Action": "start", "Actor": {"ID": identity}}).encode() + b"\n"


def make_container(
    name: str = "web-1",
    ips: tuple[str, ...] = ("172.17.0.2",),
    ports: tuple[tuple[str, int], ...] = (("tcp", 8080),),
    id: str = "0123456789abcdef",
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One element of Docker's ``GET /containers/json``."""
    return {
        "Id": id,
        "Names": [f"/{name}"],
        "Image": "shop/web:1",
        "Labels": dict(labels or {}),
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": port, "Type": proto} for proto, port in ports
        ],
        "NetworkSettings": {"Networks": {f"net{i}": {"IPAddress": ip} for i, ip in enumerate(ips)}},
    }


class FakeDockerd:
    """``on_list`` and ``on_events`` say how the calls are answered; None: well."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.containers: list[dict[str, Any]] = []
        self.on_list: Behaviour | None = None
        self.on_events: Behaviour | None = None
        self.targets: list[str] = []  # of every request
        self._subscribers: set[trio.SocketStream] = set()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        # Not trio's bind: that goes through a thread, which a test's clock does not wait for.
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path)
            sock.listen(100)
            task_status.started()
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
            await trio.serve_listeners(self._attend, [listener])

    async def start(self, container: dict[str, Any]) -> None:
        self.containers.append(container)
        await self.emit(start_event(container["Id"]))

    async def emit(self, *pieces: bytes) -> None:
        """Each piece goes to every subscriber as an HTTP chunk of its own."""
        for stream in list(self._subscribers):
            for piece in pieces:
                await stream.send_all(chunk(piece))

    async def end_events(self) -> None:
        for stream in list(self._subscribers):
            await stream.aclose()

    def subscribers(self) -> int:
        return len(self._subscribers)

    async def _attend(self, stream: trio.SocketStream) -> None:
        """One request a connection."""
        try:
            target = await self._request(stream)
            self.targets.append(target)
            if target.startswith("/events"):
                await (self.on_events or self._events)(stream)
            else:
                await (self.on_list or self._list)(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass

    async def _request(self, stream: trio.SocketStream) -> str:
        connection = h11.Connection(h11.SERVER)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                return event.target.decode("latin-1")
            if event is not h11.NEED_DATA:
                raise h11.RemoteProtocolError("no request")
            connection.receive_data(bytes(await stream.receive_some()))

    async def _list(self, stream: trio.SocketStream) -> None:
        await body(json.dumps(self.containers).encode())(stream)

    async def _events(self, stream: trio.SocketStream) -> None:
        await stream.send_all(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        self._subscribers.add(stream)
        try:
            await stream.receive_some()  # until the client goes, or we close
        finally:
            self._subscribers.discard(stream)
