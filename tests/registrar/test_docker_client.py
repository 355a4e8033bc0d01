"""The Docker client against a real socket behind which a dockerd behaves, misbehaves, dies and returns."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from shim.core.leases.lease import Lease
from shim.registrar import docker
from shim.registrar.docker import Docker, client_for
from tests.builders import QuietState, in_trio, make_binding, make_lease
from tests.harness import fake_dockerd as fakes
from tests.harness.fake_dockerd import (
    OK,
    Behaviour,
    FakeDockerd,
    body,
    chunk,
    make_container,
    raw,
    start_event,
    then_hang,
)

# httpx leaves its inner generators to the garbage collector wherever a body is not read to its end.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")

WEB = make_container(labels={"ServiceName": "web"})
EVENTS = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class World:
    """A fake dockerd, the client that follows it, and the state that it labels."""

    def __init__(self, path: str) -> None:
        self.dockerd = FakeDockerd(path)
        self.state = QuietState(settled=False)
        self._path = path
        self._scope = trio.CancelScope()

    def lease(self, port: int = 8080, ip: str = "0.0.0.0", backend_ip: str = "172.17.0.2") -> Lease:
        binding = make_binding(port=port, ip=ip, backend_ip=backend_ip)
        made = make_lease(len(self.state.registry) + 1, binding, now=self.state.now())
        self.state.registry.add(made)
        self.state.touch()
        self.state.labelling.wanted.set()
        return made

    async def follow(self) -> None:
        async with client_for(f"unix://{self._path}") as client:
            await Docker(client, self.state).run()

    async def dockerd_runs(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as self._scope:
            await self.dockerd.serve(task_status)

    def dockerd_dies(self) -> None:
        self._scope.cancel()
        os.unlink(self._path)

    def names(self) -> list[str | None]:
        return [lease.service.name if lease.service else None for lease in self.state.registry]


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(str(tmp_path / "docker.sock"))
    async with trio.open_nursery() as nursery:
        await nursery.start(made.dockerd_runs)
        nursery.start_soon(made.state.keep_time)
        nursery.start_soon(made.follow)
        yield made
        nursery.cancel_scope.cancel()


async def until(so: Callable[[], object], within: float = 1.0) -> None:
    """Waits until it is so; in the test's own time, of which a minute passes in no time."""
    with trio.fail_after(within):
        while not so():
            await trio.sleep(0.02)


@in_trio
async def test_a_container_that_runs_already_is_known_from_the_list(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        host.dockerd.containers.append(WEB)
        host.lease()
        await until(lambda: host.names() == ["web"])
        assert host.state.settling.settled and host.state.docker.reachable and not host.state.docker.error
        assert host.state.searches == 0


@in_trio
async def test_a_container_that_starts_is_looked_up_by_its_id_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        await until(lambda: host.dockerd.subscribers() and host.state.settling.settled)
        host.lease()
        began = trio.current_time()
        await host.dockerd.start(WEB)
        await until(lambda: host.names() == ["web"], 0.1)
        assert trio.current_time() - began < 0.1
        assert WEB["Id"] in host.dockerd.targets[-1]


@in_trio
async def test_a_container_whose_event_was_missed_is_asked_about(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        await until(lambda: host.state.settling.settled)
        host.dockerd.containers.append(WEB)
        host.lease()
        await until(lambda: host.names() == ["web"], docker.ASK_AFTER[0] + 0.1)


@in_trio
async def test_an_event_that_comes_before_the_list_is_answered_is_not_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        held = trio.Event()

        async def slow(stream: trio.SocketStream) -> None:
            await held.wait()
            host.dockerd.on_list = None
            await body(b"[]")(stream)

        host.dockerd.on_list = slow
        host.lease()
        await until(host.dockerd.subscribers)
        await host.dockerd.start(WEB)
        held.set()
        await until(lambda: host.names() == ["web"], 0.1)


@in_trio
async def test_events_come_in_whatever_pieces(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        await until(lambda: host.dockerd.subscribers() and host.state.settling.settled)
        host.lease()
        host.dockerd.containers.append(WEB)
        event = b"\n" + json.dumps({"Action": "die", "Actor": {"ID": "x"}}).encode() + b"\n\n"
        event += start_event(WEB["Id"])
        await host.dockerd.emit(*(event[i : i + 1] for i in range(len(event))))
        await until(lambda: host.names() == ["web"], 0.1)


@in_trio
async def test_a_thousand_containers_that_start_while_docker_is_busy_are_all_labelled(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        await until(lambda: host.dockerd.subscribers() and host.state.settling.settled)
        host.lease()
        host.dockerd.containers.append(WEB)
        await host.dockerd.emit(b"".join(start_event(f"{n:064x}") for n in range(1000)))
        await until(lambda: host.names() == ["web"], 0.3)


NESTED = b"[" * 100_000
LISTS: dict[str, Behaviour] = {
    "hangs": fakes.hang,
    "drips": fakes.drip,
    "closes": raw(b""),
    "no http": raw(b"nonsense\r\n\r\n"),
    "half a head": raw(OK),
    "half a body": raw(OK + b"Content-Length: 99\r\n\r\n[]"),
    "no end": then_hang(raw(OK + b"Content-Length: 99\r\n\r\n[]")),
    "500": body(b'{"message":"broken"}', 500),
    "redirect": raw(OK.replace(b"200", b"302") + b"Location: /x\r\nContent-Length: 0\r\n\r\n"),
    "empty": body(b""),
    "no json": body(b"<html>"),
    "an object": body(b"{}"),
    "nested": body(NESTED),
    "no text": body(b"\xff\xfe\x00"),
    "bad gzip": raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"),
    "bad chunks": raw(EVENTS + b"zz\r\n"),
}


@pytest.mark.parametrize("behaviour", LISTS.values(), ids=LISTS.keys())
@in_trio
async def test_a_list_that_is_none_is_an_error_and_the_next_good_one_is_used(
    tmp_path: Path, behaviour: Behaviour
) -> None:
    async with world(tmp_path) as host:
        host.dockerd.on_list = behaviour
        host.dockerd.containers.append(WEB)
        host.lease()
        await until(lambda: host.state.docker.error, docker.CALL_TIMEOUT + 1)
        assert not host.state.docker.reachable and not host.state.settling.settled
        assert len(host.state.docker.error) < 300
        host.dockerd.on_list = None
        await until(lambda: host.names() == ["web"], docker.CALL_TIMEOUT + docker.RETRY_LAST + 0.1)
        assert host.state.docker.error == ""


HUGE_ID = start_event("f" * 70_000)  # longer than any URL may be
EVENT_STREAMS: dict[str, Behaviour] = {
    "closes": raw(b""),
    "500": body(b"", 500),
    "ends": body(b""),
    "no json": raw(EVENTS + chunk(b"nonsense\n")),
    "a list": then_hang(raw(EVENTS + chunk(b"[]\n"))),
    "no actor": then_hang(raw(EVENTS + chunk(b'{"Action":"start"}\n'))),
    "nested": then_hang(raw(EVENTS + chunk(NESTED + b"\n"))),
    "huge line": then_hang(raw(EVENTS + chunk(b"x" * (docker.EVENT_LIMIT + 1)))),
    "huge id": then_hang(raw(EVENTS + chunk(HUGE_ID))),
    "bad chunks": raw(EVENTS + b"zz\r\n"),
}


@pytest.mark.parametrize("behaviour", EVENT_STREAMS.values(), ids=EVENT_STREAMS.keys())
@in_trio
async def test_an_event_stream_that_breaks_is_opened_again(tmp_path: Path, behaviour: Behaviour) -> None:
    async with world(tmp_path) as host:
        host.dockerd.on_events = behaviour
        await until(lambda: host.state.docker.error, docker.CALL_TIMEOUT + 1)
        host.dockerd.on_events = None
        await until(lambda: host.dockerd.subscribers() and host.state.docker.reachable, 10)
        host.lease()
        await host.dockerd.start(WEB)
        await until(lambda: host.names() == ["web"], 0.1)


@in_trio
async def test_ids_that_are_no_texts_and_containers_that_are_no_objects_are_passed_by(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        host.dockerd.on_events = then_hang(raw(EVENTS + chunk(b'{"Action":"start","Actor":{"ID":7}}\n')))
        host.dockerd.on_list = body(json.dumps([None, 7, [], {"Ports": 7}, {"Ports": [None]}, WEB]).encode())
        host.lease()
        await until(lambda: host.names() == ["web"])


@in_trio
async def test_an_event_call_without_a_head_holds_nothing_up(tmp_path: Path) -> None:
    """dockerd 20.10 sends it with the first event only."""
    async with world(tmp_path) as host:
        host.dockerd.on_events = fakes.hang
        host.dockerd.containers.append(WEB)
        host.lease()
        await until(lambda: host.names() == ["web"], 0.1)
        await trio.sleep(3600)
        assert host.state.docker.reachable


@in_trio
async def test_what_is_served_stays_while_docker_is_away_and_is_named_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as host:
        host.dockerd.containers.append(WEB)
        host.lease()
        await until(lambda: host.names() == ["web"])
        host.dockerd_dies()
        await until(lambda: not host.state.docker.reachable)
        version = host.state.registry.listeners.version
        new = host.lease(9090, backend_ip="172.17.0.3")
        await trio.sleep(60)
        assert host.names() == ["web", "172.17.0.3"]  # without Docker, called after its address
        assert host.state.registry.listeners.version != version
        assert str(new.binding.address) in host.state.registry.listeners
        host.dockerd.containers.append(make_container("api-1", ("172.17.0.3",), (("tcp", 9090),), "b" * 64))
        async with trio.open_nursery() as nursery:
            await nursery.start(host.dockerd_runs)
            await until(lambda: host.names() == ["web", "api-1"], docker.RETRY_LAST + 0.1)
            nursery.cancel_scope.cancel()


@in_trio
async def test_a_port_that_no_shim_has_told_of_is_looked_for(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        host.dockerd.containers.append(WEB)
        await until(lambda: host.state.settling.settled)
        assert host.state.searches == 1


@in_trio
async def test_a_lease_is_not_named_after_a_container_that_does_not_publish_it(tmp_path: Path) -> None:
    async with world(tmp_path) as host:
        host.dockerd.containers.append(make_container(ports=(("udp", 8080), ("tcp", 8081))))
        host.lease()
        await until(lambda: host.state.settling.settled)
        assert host.names() == [None]


@in_trio
async def test_the_ports_of_one_container_get_their_names_in_the_same_order_every_time(
    tmp_path: Path,
) -> None:
    """Of a container with an IPv4 and an IPv6 address, IPv4 takes the short name: after a restart, too."""
    async with world(tmp_path) as host:
        ips = ("10.0.0.2", "fd00::2")
        host.dockerd.containers.append(make_container(ips=ips, labels={"ServiceName": "web"}))
        for lease in (host.lease(ip="::", backend_ip="fd00::2"), host.lease(backend_ip="10.0.0.2")):
            lease.order = 1.0  # started in the same tick of the kernel's clock
        await until(lambda: host.state.settling.settled)
        names = [lease.cluster for lease in host.state.registry]
        assert names == ["web-8080-fd00__2-80", "web-8080"]


def task(name: str, id: str = "0123456789abcdef", **more: object) -> dict[str, object]:
    """A Swarm task on an overlay network, whose address on docker_gwbridge Docker does not tell."""
    labels = {"com.docker.swarm.service.name": name}
    return {**make_container(f"{name}.1.x", ips=("10.0.1.3",), id=id, labels=labels), **more}


@in_trio
async def test_a_container_is_known_by_its_published_address_where_docker_tells_no_other(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as host:
        await until(lambda: host.dockerd.subscribers() and host.state.settling.settled)
        host.lease(backend_ip="172.18.0.3")
        host.lease(ip="127.0.0.9", backend_ip="172.18.0.4")
        await host.dockerd.start(task("web"))
        await until(lambda: host.names() == ["web", None], 0.1)
        # Nor is it searched for in /proc, or taken for another's later.
        assert host.state.searches == 0
        host.dockerd.containers[:] = [task("db", "f" * 64)]
        await host.dockerd.emit(start_event("f" * 64))
        host.lease(port=8081, backend_ip="172.18.0.5")
        await host.dockerd.start(task("api", "a" * 64, Ports=make_container(ports=(("tcp", 8081),))["Ports"]))
        await until(lambda: host.names() == ["web", None, "api"], 0.1)


@in_trio
async def test_a_container_whose_port_behind_it_is_another_is_not_meant(tmp_path: Path) -> None:
    port = {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 8080, "Type": "tcp"}
    async with world(tmp_path) as host:
        await until(lambda: host.dockerd.subscribers() and host.state.settling.settled)
        lease = host.lease(backend_ip="172.18.0.3")
        await host.dockerd.start(task("web", Ports=[port]))
        await until(lambda: lease.service is not None, 11)
        assert host.names() == ["172.18.0.3"]
        # Once it is told right, the name comes.
        host.dockerd.containers.clear()
        await host.dockerd.start(task("web"))
        await until(lambda: host.names() == ["web"], 0.1)
