"""The relay when something fails: containers, routes, files, the kernel."""

import ctypes
import errno
import os
import socket

import pytest
import trio
import trio.testing

from shim.core.binding import Backend
from shim.relay import envelope, mmsg
from shim.relay import relay as relay_module
from shim.relay.relay import relay
from shim.relay.sockets import connected
from tests.relay.rig import SOON, address, burst, go, receive, relaying, udp, until


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
            assert rig.counters.errors > 0

    go(test)


def test_icmp_errors_in_the_middle_of_a_batch_lose_nothing_that_could_arrive() -> None:
    """Half of a burst goes to a dead port's flow; the other client's datagrams all arrive."""

    async def test() -> None:
        with udp() as reserved:
            backend = Backend(*address(reserved))
        async with relaying(backend=backend) as rig:
            clients = [await rig.client(), await rig.client()]
            for number in range(60):
                burst(clients[number % 2], [b"%d" % number])
            await until(lambda: rig.counters.created == 2)
            for sizes in ((1,) * 40, range(1, 41)):  # as one large datagram, and one by one
                burst(clients[0], [b"x" * size for size in sizes])
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert rig.counters.dropped_requests == 0
            with udp(*backend) as late:
                expected = [b"%d" % number for number in range(100)]
                burst(clients[1], expected)
                with trio.fail_after(SOON):
                    assert [await late.recv(100) for _ in expected] == expected

    go(test)


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
            fail(monkeypatch, errno.EMFILE, errno.ENETUNREACH)
            await clients[2].send(b"refused")  # room is made; then there is no route
            await until(lambda: rig.counters.refused == 1)
            assert rig.counters.evicted == 1
            await rig.through(clients[2])

    go(test)


def fail(monkeypatch: pytest.MonkeyPatch, *codes: int) -> None:
    """The next flows' sockets cannot be had, for these reasons."""
    failures = list(codes)

    def scarce(family: socket.AddressFamily, there: Backend) -> socket.socket:
        if failures:
            raise OSError(failures.pop(0), "scripted")
        return connected(family, there)

    monkeypatch.setattr(relay_module, "connected", scarce)


def test_where_the_host_has_no_port_left_a_flow_makes_room_and_newcomers_are_not_tried_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """... as the kernel takes a millisecond to say no, in which nobody is served."""
    clock = trio.testing.MockClock()  # stands still

    async def test() -> None:
        async with relaying() as rig:
            old, *others = [await rig.client() for _ in range(4)]
            await rig.through(old)
            fail(monkeypatch, errno.EAGAIN)
            await rig.through(others[0])
            assert (rig.counters.evicted, rig.counters.refused) == (1, 0)
            fail(monkeypatch, errno.EAGAIN, errno.EAGAIN)
            for number, client in enumerate(others[1:], 1):
                await client.send(b"refused")
                await until(lambda number=number: rig.counters.refused == number)  # type: ignore[misc]
            assert rig.counters.evicted == 2
            clock.jump(relay_module.NO_PORT_PAUSE)
            await rig.through(others[1])

    go(test, clock)


def test_where_more_newcomers_come_than_can_be_served_nobody_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each full batch a few are taken in; who is known loses nothing, and a mere burst is no flood."""
    monkeypatch.setattr(relay_module, "BEHIND", 2)

    async def test() -> None:
        async with relaying() as rig:
            known, *clients = [await rig.client() for _ in range(2 * mmsg.SLOTS + 1)]
            flow = await rig.through(known)
            for client in clients[: mmsg.SLOTS]:
                burst(client, [b"a burst"])
            for _ in range(mmsg.SLOTS):
                await rig.at_backend()
            assert rig.counters.refused == 0
            # Two full batches; one that is full of newcomers; then somebody who is known.
            for client in [*clients[: mmsg.SLOTS] * 2, *clients[mmsg.SLOTS :], known]:
                burst(client, [b"a flood"])
            served = 2 * mmsg.SLOTS + relay_module.NEWCOMERS
            senders = [(await rig.at_backend())[1] for _ in range(served + 1)]
            assert senders[-1] == flow
            assert rig.counters.refused == mmsg.SLOTS - relay_module.NEWCOMERS
            await rig.through(clients[-1])

    go(test)


def test_a_kernel_that_refuses_segments_gets_each_datagram_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size above the path's MTU, or a device without checksums, fails only when it is tried."""
    # More segments than the kernel allows: EINVAL.
    monkeypatch.setattr(
        mmsg, "cut", lambda _: envelope.cmsg(envelope.SOL_UDP, envelope.UDP_SEGMENT, b"\x01\x00")
    )

    async def test() -> None:
        async with relaying() as rig:
            rig.echo()
            client = await rig.client()
            sent = [b"%0500d" % number for number in range(100)]
            burst(client, sent)
            assert [await receive(client) for _ in sent] == sent
            assert not rig.counters.lossy

    go(test)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS, errno.EPERM, errno.ENETUNREACH])
def test_what_the_system_will_not_send_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A full socket or a firewall: the relay neither stops nor tries for ever."""
    real = mmsg._sendmmsg
    refused: list[int] = []

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
            # Growing, so that each is a message of its own.
            burst(rig.backend, [b"x" * (40 + size) for size in range(40)], flow)
            tries = 1 if code in mmsg.FULL else mmsg.RETRIES + 1
            lost = rig.counters
            await until(lambda: len(refused) == 20)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert lost.dropped_replies >= 20 // tries
            await rig.backend.sendto(b"after", flow)
            while await receive(client) != b"after":
                pass

    go(test)


def test_a_full_socket_costs_a_crowd_what_it_refuses_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mmsg._sendmmsg
    refused: list[int] = []

    async def test() -> None:
        async with relaying() as rig:
            clients = [await rig.client() for _ in range(40)]
            flows = [await rig.through(client) for client in clients]

            def refusing(fd: int, *rest: object) -> int:
                if fd == rig.host.fileno() and len(refused) < 10:
                    refused.append(fd)
                    ctypes.set_errno(errno.EAGAIN)
                    return -1
                return int(real(fd, *rest))

            monkeypatch.setattr(mmsg, "_sendmmsg", refusing)
            for index, flow in enumerate(flows):
                burst(rig.backend, [b"%d" % index], flow)
            await until(lambda: rig.counters.dropped_replies == 10)
            await trio.testing.wait_all_tasks_blocked(0.01)
            heard = [_waiting(client) for client in clients]
            assert heard.count(b"") == 10
            assert all(data in (b"", b"%d" % index) for index, data in enumerate(heard))

    go(test)


def _waiting(client: trio.socket.SocketType) -> bytes:
    with socket.socket(fileno=os.dup(client.fileno())) as plain:
        plain.setblocking(False)
        try:
            return plain.recv(100)
        except BlockingIOError:
            return b""


def test_an_unusable_host_socket_is_an_error() -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as host:
            host.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match="ENOTCONN"), trio.fail_after(SOON):
                await relay(host, Backend("127.0.0.1", 9))

    go(test)
