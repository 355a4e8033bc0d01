"""The relay on real sockets: what docker-proxy does, and what it promises beyond that."""

import socket

import pytest
import trio
import trio.testing

from shim.core.binding import Backend
from shim.relay.flows import UNANSWERED, Counters
from shim.relay.relay import relay
from tests.relay.rig import LARGEST, SOON, address, burst, echo, go, receive, relaying, udp, until


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
            counted = rig.counters
            assert not counted.lossy
            assert (counted.requests, counted.replies, counted.clients, counted.errors) == (4, 4, 1, 0)
            assert counted.request_bytes == counted.reply_bytes == 31 + 0 + LARGEST + 5

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


@pytest.mark.parametrize("number", [5, 40, 100])
@pytest.mark.parametrize("ips", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2", "127.0.0.3"], ["::1"]])
def test_replies_to_several_clients_at_once_each_go_to_their_own(number: int, ips: list[str]) -> None:
    """Few clients with bursts, and a crowd of them: one batch holds replies of several flows.

    A connected client hears only what comes from the very address that it talks to.
    """

    async def test() -> None:
        async with relaying("0.0.0.0" if len(ips) > 1 else ips[0]) as rig:
            clients = [await rig.client(ips[index % len(ips)]) for index in range(number)]
            flows = [await rig.through(client) for client in clients]
            for index, flow in enumerate(flows):
                burst(rig.backend, [b"r" * index] * (1 + index % 3), flow)
            for index, client in enumerate(clients):
                for _ in range(1 + index % 3):
                    assert await receive(client) == b"r" * index
            for index, client in enumerate(clients):  # and the requests of all of them in one
                burst(client, [b"q" * index] * (1 + index % 3))
            for _ in range(sum(1 + index % 3 for index in range(number))):
                data, flow = await rig.at_backend()
                assert flow == flows[len(data)]
            total = sum(1 + index % 3 for index in range(number))
            assert (rig.counters.requests, rig.counters.replies) == (number + total, total)

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


def test_a_one_sided_flow_lives_while_the_client_sends() -> None:
    """As moby's TestUDPOneSided: the backend never answers, and sees one source port until the end."""
    clock = trio.testing.MockClock(rate=1.0)

    async def test() -> None:
        async with relaying() as rig:
            client = await rig.client()
            flow = await rig.through(client)
            for _ in range(15):
                clock.jump(UNANSWERED - 1)
                await trio.testing.wait_all_tasks_blocked(0.005)
                assert await rig.through(client) == flow
            clock.jump(UNANSWERED)
            await until(lambda: rig.counters.expired == 1)
            assert await rig.through(client) != flow

    go(test, clock)


def test_silent_flows_end_while_others_are_busy() -> None:
    """... and lose nothing of those: twenty stay, each with its own source port."""
    clock = trio.testing.MockClock(rate=1.0)

    async def test() -> None:
        async with relaying() as rig:
            busy, silent, unanswered = [[await rig.client() for _ in range(20)] for _ in range(3)]
            flows = [await rig.through(client) for client in busy]
            for client in silent:
                await rig.backend.sendto(b"hello", await rig.through(client))
                assert await receive(client) == b"hello"
            for client in unanswered:
                await rig.through(client)
            for seconds, ended in ((5, 0), (5, 20), *[(9, 20)] * 8, (8, 40)):
                clock.jump(seconds)
                await until(lambda ended=ended: rig.counters.expired == ended)  # type: ignore[misc]
                for client in busy:
                    burst(client, [b"%d" % n for n in range(10)])
                for _ in range(10 * len(busy)):
                    _, sender = await rig.at_backend()
                    assert sender in flows
            assert not rig.counters.lossy
            assert await rig.through(silent[0]) not in flows

    go(test, clock)


def test_replies_alone_keep_a_flow_alive() -> None:
    clock = trio.testing.MockClock(rate=1.0)

    async def test() -> None:
        async with relaying() as rig:
            client = await rig.client()
            flow = await rig.through(client)
            for seconds in (UNANSWERED - 1, 89, 89, 89):
                clock.jump(seconds)
                await rig.backend.sendto(b"news", flow)
                assert await receive(client) == b"news"
            assert rig.counters.expired == 0
            clock.jump(90)
            await until(lambda: rig.counters.expired == 1)

    go(test, clock)


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
                burst(client, sent[start : start + 100])
                assert [await receive(client) for _ in range(100)] == sent[start : start + 100]
            assert not rig.counters.lossy
            assert rig.counters.request_bytes == rig.counters.reply_bytes == sum(sizes)

    go(test)


def test_the_relay_returns_when_it_has_been_quiet() -> None:
    clock = trio.testing.MockClock(rate=1.0)

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
                with trio.fail_after(SOON * 100 + 1000):
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
