"""The relay on real sockets: what docker-proxy does, and what it promises beyond that."""

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing

from shim.core.binding import Backend
from shim.core.flows import Counters
from shim.relay import mmsg
from shim.relay import relay as relay_module
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


@pytest.mark.parametrize(
    ("host_ip", "backend_ip"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
    ],
)
def test_a_datagram_is_echoed_in_both_families_and_across(host_ip: str, backend_ip: str) -> None:
    async def test() -> None:
        async with relaying(host_ip, backend_ip) as rig:
            rig.echo()
            client = await rig.client({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host_ip))
            for data in (b"Buffalo buffalo Buffalo buffalo", b"", b"x" * LARGEST, b"again"):
                await client.send(data)
                assert await receive(client) == data
            assert not rig.counters.lossy

    go(test)


def test_a_dual_stack_socket_serves_ipv4_clients() -> None:
    """A passed IPv6 socket may lack IPV6_V6ONLY: addresses are mapped ones then."""

    async def test() -> None:
        async with trio.open_nursery() as nursery:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as host, udp() as backend:
                host.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                host.bind(("::", 0))
                nursery.start_soon(relay, host, Backend(*address(backend)))
                nursery.start_soon(echo, backend)
                with udp() as client:
                    await client.connect(("127.0.0.3", host.getsockname()[1]))
                    await client.send(b"mapped")
                    assert await receive(client) == b"mapped"
                nursery.cancel_scope.cancel()

    go(test)


def test_each_of_twenty_clients_gets_its_own_replies() -> None:
    async def test() -> None:
        async with relaying() as rig:
            rig.echo()
            clients = [await rig.client() for _ in range(20)]
            for turn in range(5):
                for number, client in enumerate(clients):
                    await client.send(b"%d of client %d" % (turn, number))
                for number, client in enumerate(clients):
                    assert await receive(client) == b"%d of client %d" % (turn, number)
            assert rig.counters.created == 20

    go(test)


def test_replies_leave_from_the_address_that_the_client_sent_to() -> None:
    """One client socket talks to two addresses of a wildcard bind: two flows."""

    async def test() -> None:
        async with relaying("0.0.0.0") as rig:
            rig.echo()
            port = address(rig.host)[1]
            with udp() as client:
                for ip in ("127.0.0.2", "127.0.0.1", "127.0.0.2"):
                    await client.sendto(ip.encode(), (ip, port))
                seen = []
                for _ in range(3):
                    with trio.fail_after(SOON):
                        data, sender = await client.recvfrom(100)
                    assert sender == (data.decode(), port)
                    seen.append(data)
                assert sorted(seen) == [b"127.0.0.1", b"127.0.0.2", b"127.0.0.2"]
            assert rig.counters.created == 2

    go(test)


def test_datagrams_that_came_before_the_relay_join_the_flow_of_those_after() -> None:
    """The socket was bound without IP_PKTINFO, and the first datagram waits in it already."""

    async def test() -> None:
        async with trio.open_nursery() as nursery:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host, udp() as backend, udp() as client:
                host.bind(("0.0.0.0", 0))
                await client.connect(("127.0.0.2", host.getsockname()[1]))
                await client.send(b"early")
                counters = Counters()
                await nursery.start(
                    lambda task_status: relay(
                        host, Backend(*address(backend)), counters=counters, task_status=task_status
                    )
                )
                await client.send(b"late")
                nursery.start_soon(echo, backend)
                assert await receive(client) == b"early"
                assert await receive(client) == b"late"
                assert counters.created == 1
                nursery.cancel_scope.cancel()

    go(test)


def test_a_backend_that_is_not_there_yet_is_no_end() -> None:
    """moby's TestUDPWriteError: the datagram that meets a queued ICMP error is not lost either."""

    async def test() -> None:
        with udp() as reserved:
            backend = Backend(*address(reserved))
        async with relaying(backend=backend) as rig:
            client = await rig.client()
            await client.send(b"lost")
            await until(lambda: rig.counters.created == 1)
            await client.send(b"lost too")
            with udp(*backend) as late:
                await client.send(b"heard")
                with trio.fail_after(SOON):
                    data, flow = await late.recvfrom(100)
                if data == b"lost too":  # it was on its way still
                    data, flow = await late.recvfrom(100)
                assert data == b"heard"
                await late.sendto(b"answer", flow)
                assert await receive(client) == b"answer"
            assert rig.counters.created == 1

    go(test)


def test_icmp_errors_in_the_middle_of_a_batch_lose_nothing_that_could_arrive() -> None:
    """Half of a burst goes to a dead port's flow; the other client's datagrams all arrive."""

    async def test() -> None:
        with udp() as reserved:
            backend = Backend(*address(reserved))
        async with relaying(backend=backend) as rig:
            clients = [await rig.client(), await rig.client()]
            for number in range(200):
                await clients[number % 2].send(b"%d" % number)
            await until(lambda: rig.counters.created == 2)
            for sizes in ((1,) * 40, tuple(range(1, 41))):  # as one large datagram, and one by one
                for size in sizes:
                    await clients[0].send(b"x" * size)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert rig.counters.dropped_requests == 0
            with udp(*backend) as late:
                expected = [b"%d" % number for number in range(100)]
                for data in expected:
                    await clients[1].send(data)
                with trio.fail_after(SOON):
                    assert [await late.recv(100) for _ in expected] == expected

    go(test)


def test_a_one_sided_flow_lives_while_the_client_sends() -> None:
    """moby's TestUDPOneSided: the backend never answers, and sees one source port until the end."""
    clock = trio.testing.MockClock()

    async def test() -> None:
        async with relaying() as rig:
            client = await rig.client()
            flow = await rig.through(client)
            for _ in range(15):
                clock.jump(89)
                await trio.testing.wait_all_tasks_blocked(0.005)
                assert await rig.through(client) == flow
            clock.jump(90)
            await until(lambda: rig.counters.expired == 1)
            assert await rig.through(client) != flow

    go(test, clock)


def test_replies_alone_keep_a_flow_alive() -> None:
    clock = trio.testing.MockClock()

    async def test() -> None:
        async with relaying() as rig:
            client = await rig.client()
            flow = await rig.through(client)
            for _ in range(5):
                clock.jump(89)
                await rig.backend.sendto(b"news", flow)
                assert await receive(client) == b"news"
            assert rig.counters.expired == 0
            clock.jump(90)
            await until(lambda: rig.counters.expired == 1)

    go(test, clock)


def test_the_oldest_idle_flow_makes_room_when_the_table_is_full() -> None:
    async def test() -> None:
        async with relaying(limit=2) as rig:
            clients = [await rig.client() for _ in range(3)]
            flows = [await rig.through(client) for client in clients[:2]]
            assert await rig.through(clients[0]) == flows[0]  # now the second is the oldest
            await rig.through(clients[2])
            assert rig.counters.evicted == 1
            assert await rig.through(clients[0]) == flows[0]
            assert await rig.through(clients[1]) != flows[1]
            assert rig.counters.created == 4

    go(test)


def test_a_flow_makes_room_when_the_process_has_no_file_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with relaying() as rig:
            clients = [await rig.client() for _ in range(3)]
            for client in clients[:2]:
                await rig.through(client)
            connect, failures = relay_module.Relay._connect, [errno.EMFILE, errno.ENETUNREACH]

            def scarce(shell: relay_module.Relay) -> socket.socket:
                if failures:
                    raise OSError(failures.pop(0), "scripted")
                return connect(shell)

            monkeypatch.setattr(relay_module.Relay, "_connect", scarce)
            await clients[2].send(b"refused")  # room is made; then there is no route
            await until(lambda: rig.counters.refused == 1)
            assert rig.counters.evicted == 1
            await rig.through(clients[2])

    go(test)


def test_a_burst_of_mixed_sizes_arrives_whole_and_in_order() -> None:
    async def test() -> None:
        async with relaying() as rig:
            rig.echo()
            client = await rig.client()
            sizes = [(7, 7, 7, 1, 0, 900, 900, 0, 1472, 1500, 9000, 1)[n % 12] for n in range(2000)]
            sent = [
                n.to_bytes(4, "big")[: max(0, size)].ljust(size, b"%d" % (n % 10))
                for n, size in enumerate(sizes)
            ]
            for start in range(0, 2000, 100):
                for data in sent[start : start + 100]:
                    await client.send(data)
                assert [await receive(client) for _ in range(100)] == sent[start : start + 100]
            assert not rig.counters.lossy

    go(test)


def test_a_kernel_that_refuses_segments_gets_each_datagram_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size above the path's MTU, or a device without checksums, fails only when it is tried."""
    # More segments than the kernel allows: EINVAL.
    monkeypatch.setattr(mmsg, "_cut", lambda _: mmsg._cmsg(mmsg.SOL_UDP, mmsg.UDP_SEGMENT, b"\x01\x00"))

    async def test() -> None:
        async with relaying() as rig:
            rig.echo()
            client = await rig.client()
            sent = [b"%0500d" % number for number in range(100)]
            for data in sent:
                await client.send(data)
            assert [await receive(client) for _ in sent] == sent
            assert not rig.counters.lossy

    go(test)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS, errno.EPERM, errno.ENETUNREACH])
def test_what_the_system_will_not_send_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A full socket or a firewall: the relay neither stops nor tries for ever."""
    real, refused = mmsg._sendmmsg, []

    def refusing(fd: int, *rest: object) -> int:
        if len(refused) < 20:
            refused.append(fd)
            ctypes.set_errno(code)
            return -1
        return int(real(fd, *rest))

    async def test() -> None:
        async with relaying() as rig:
            client = await rig.client()
            flow = await rig.through(client)
            monkeypatch.setattr(mmsg, "_sendmmsg", refusing)
            for size in range(40):  # growing, so that each is a message of its own
                await rig.backend.sendto(b"x" * (40 + size), flow)
            tries = 1 if code in mmsg.FULL else mmsg.RETRIES + 1
            lost = rig.counters
            await until(lambda: len(refused) == 20)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert lost.dropped_replies >= 20 // tries
            await rig.backend.sendto(b"after", flow)
            while await receive(client) != b"after":
                pass

    go(test)


def test_the_relay_returns_when_it_has_been_quiet() -> None:
    clock = trio.testing.MockClock()

    async def test() -> None:
        done = trio.Event()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host, udp() as backend, udp() as client:
            host.bind(("127.0.0.1", 0))

            async def run() -> None:
                await relay(host, Backend(*address(backend)), quiet=30.0)
                done.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await client.connect(address(host))
                await client.send(b"hello")
                with trio.fail_after(SOON * 100):
                    assert await backend.recv(100) == b"hello"
                    clock.jump(90)  # the flow ends
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    assert not done.is_set()
                    clock.jump(30)
                    await done.wait()
            # What comes now waits for whoever relays next.
            await client.send(b"later")
            host.settimeout(SOON)
            assert host.recv(100) == b"later"

    go(test, clock)


def test_an_unusable_host_socket_is_an_error() -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as host:
            host.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match="ENOTCONN"), trio.fail_after(SOON):
                await relay(host, Backend("127.0.0.1", 9))

    go(test)
