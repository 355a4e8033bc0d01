"""A running relay with real sockets on loopback around it."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import trio
import trio.testing

from shim.core.binding import Backend
from shim.relay.flows import Counters
from shim.relay.relay import relay

Address = tuple[str, int]
SOON = 5.0  # seconds after which something that should happen has failed to
LARGEST = 65_507


def udp(ip: str = "127.0.0.1", port: int = 0) -> trio.socket.SocketType:
    """A trio UDP socket bound to a loopback address, with room for a burst."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((ip, port))
    return trio.socket.from_stdlib_socket(sock)


def address(sock: trio.socket.SocketType | socket.socket) -> Address:
    name = sock.getsockname()
    return name[0], name[1]


class Rig:
    """A relay with a backend of the test's own and any number of clients."""

    def __init__(self, nursery: trio.Nursery, host: socket.socket, backend: trio.socket.SocketType) -> None:
        self.nursery = nursery
        self.host = host
        self.backend = backend
        self.counters = Counters()
        self.clients: list[trio.socket.SocketType] = []

    async def client(self, ip: str | None = None) -> trio.socket.SocketType:
        """A client connected to the relay, on the address it is bound to or another local one."""
        there = (ip or address(self.host)[0], address(self.host)[1])
        sock = udp("::1" if ":" in there[0] else "127.0.0.1")
        self.clients.append(sock)
        await sock.connect(there)
        return sock

    async def at_backend(self) -> tuple[bytes, Address]:
        """The next datagram that reaches the container, and the flow's address."""
        with trio.fail_after(SOON):
            data, sender = await self.backend.recvfrom(LARGEST + 1)
        return data, sender[:2]

    async def through(self, client: trio.socket.SocketType, data: bytes = b"hello") -> Address:
        """Send a datagram through the relay: the flow's address."""
        await client.send(data)
        received, sender = await self.at_backend()
        assert received == data
        return sender

    def echo(self) -> None:
        """Have the backend echo from now on."""
        self.nursery.start_soon(echo, self.backend)


async def echo(sock: trio.socket.SocketType) -> None:
    while True:
        data, sender = await sock.recvfrom(LARGEST + 1)
        await sock.sendto(data, sender)


def burst(sock: trio.socket.SocketType, datagrams: Iterable[bytes], there: Address | None = None) -> None:
    """Send without letting the relay run in between, so that it finds them as one batch."""
    with socket.socket(fileno=os.dup(sock.fileno())) as plain:
        for data in datagrams:
            if there:
                plain.sendto(data, there)
            else:
                plain.send(data)


async def receive(sock: trio.socket.SocketType) -> bytes:
    with trio.fail_after(SOON):
        return bytes(await sock.recv(LARGEST + 1))


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run, and sockets be looked at, until it is so."""
    with trio.fail_after(SOON):
        while not condition():
            await trio.lowlevel.checkpoint()


@contextlib.asynccontextmanager
async def relaying(
    host_ip: str = "127.0.0.1",
    backend_ip: str = "127.0.0.1",
    *,
    idle: float = 90.0,
    limit: int = 10_000,
    backend: Backend | None = None,
) -> AsyncIterator[Rig]:
    """A running relay.  ``backend``: instead of the rig's own socket."""
    async with trio.open_nursery() as nursery:
        host = udp(host_ip)
        plain = socket.socket(fileno=os.dup(host.fileno()))
        host.close()
        with plain, udp(backend_ip) as own:
            rig = Rig(nursery, plain, own)
            target = backend or Backend(*address(own))

            async def run(task_status: trio.TaskStatus[None]) -> None:
                await relay(
                    plain, target, idle=idle, limit=limit, counters=rig.counters, task_status=task_status
                )

            await nursery.start(run)
            try:
                yield rig
            finally:
                for client in rig.clients:
                    client.close()
            nursery.cancel_scope.cancel()


def go(test: Callable[[], Awaitable[None]], clock: trio.abc.Clock | None = None) -> None:
    trio.run(test, clock=clock)
