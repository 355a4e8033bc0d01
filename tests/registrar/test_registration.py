"""The registration socket, a real one: who gets in, what is refused, and that nothing stays open."""

import array
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from shim.registrar import registration
from shim.wire.words import PORT_TIMEOUT
from tests.builders import QuietState, in_trio, make_binding, make_flags, make_labelled, open_fds

REGISTER = "\0".join(["register", *make_flags()]).encode() + b"\n"
CLAIM = REGISTER.replace(b"register", b"claim")


def adopt(pid: object) -> bytes:
    return REGISTER.replace(b"register", f"adopt\0{pid}".encode())


class Registrar:
    """A registration socket that is served, and its state."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.state = QuietState()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self.path)

    async def send(self, stream: trio.SocketStream, message: bytes, fds: list[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        await stream.socket.sendmsg([message], rights)

    async def ask(self, message: bytes, fds: list[int] | None = None) -> bytes:
        """The answer to one message."""
        async with await self.connect() as stream:
            await self.send(stream, message, fds or [])
            return await answer(stream)


async def answer(stream: trio.SocketStream) -> bytes:
    found = b""
    try:
        async for data in stream:
            found += data
    except trio.BrokenResourceError:
        pass  # closed with something of ours unread
    return found


class Pipes:
    """A shim's two pipes; ``line`` is what a registration hands over."""

    def __init__(self) -> None:
        self.lease_read, self.lease = os.pipe()
        self.wake, self.wake_write = os.pipe()
        self.line = [self.lease_read, self.wake_write]

        self._open = {*self.line, self.lease, self.wake}

    def die(self) -> None:
        """What is the registrar's stays open."""
        self.close(self.lease, self.wake)

    def close(self, *fds: int) -> None:
        for fd in self._open & set(fds or self._open):
            self._open.discard(fd)
            os.close(fd)


@pytest.fixture
def pipes() -> "Iterator[list[Pipes]]":
    made = [Pipes() for _ in range(3)]
    yield made
    for pipe in made:
        pipe.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "dir" / "s.sock")


@asynccontextmanager
async def serving(path: str) -> AsyncIterator[Registrar]:
    """Afterwards nothing that a client brought may be open."""
    registrar = Registrar(path)
    before = open_fds()
    sock = registration.listen(path)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registration.serve, sock, registrar.state)
            nursery.start_soon(registrar.state.shims.control_pipes.run)
            yield registrar
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    finally:
        sock.close()
        registrar.state.shims.control_pipes.close()
    assert open_fds() <= before


@in_trio
async def test_a_shim_registers_with_its_line_and_is_gone_with_it(path: str, pipes: list[Pipes]) -> None:
    async with serving(path) as registrar:
        async with await registrar.connect() as stream:  # and, as a shim does, waits for no answer
            await registrar.send(stream, REGISTER, pipes[0].line)
        await trio.testing.wait_all_tasks_blocked()
        (lease,) = registrar.state.registry
        assert (lease.binding, lease.pid) == (make_binding(), os.getpid())
        assert await registrar.ask(REGISTER, pipes[0].line) == b"known\n"
        assert await registrar.ask(REGISTER.replace(b"8080", b"8081"), pipes[1].line) == b"ok\n"
        assert len(registrar.state.registry) == 2
        pipes[0].die()
        await trio.testing.wait_all_tasks_blocked()
        assert len(registrar.state.registry) == 1


@in_trio
async def test_another_process_can_be_registered_for_by_adopting_it(path: str, pipes: list[Pipes]) -> None:
    async with serving(path) as registrar:
        assert await registrar.ask(adopt(1), pipes[0].line) == b"ok\n"
        assert await registrar.ask(adopt(1), pipes[0].line) == b"known\n"
        assert await registrar.ask(adopt(10**20), pipes[1].line) == b"ok\n"  # not to be seen from here
        assert [lease.pid for lease in registrar.state.registry] == [1, 10**20]


@in_trio
async def test_a_claim_is_refused_where_no_envoy_of_ours_has_the_port(path: str) -> None:
    async with serving(path) as registrar:
        await trio.sleep(10)  # past the time in which an Envoy of a predecessor may return
        assert await registrar.ask(CLAIM) == b"taken\n"
        assert trio.current_time() == pytest.approx(10)


@in_trio
async def test_a_claim_waits_until_the_envoy_of_a_predecessor_has_taken_what_we_serve(path: str) -> None:
    async with serving(path) as registrar:
        state = registrar.state
        await trio.sleep(3)
        async with trio.open_nursery() as nursery:

            async def envoy() -> None:
                await trio.sleep(1)
                session = state.poll("late", "", 1)
                await trio.sleep(1)
                session.listeners.processed_sequence = state.registry.listeners.sequence
                state.touch()

            nursery.start_soon(envoy)
            assert await registrar.ask(CLAIM) == b"free\n"
        assert trio.current_time() == pytest.approx(5)
        assert await registrar.ask(CLAIM) == b"taken\n"
        assert trio.current_time() == pytest.approx(5)


@in_trio
async def test_a_claim_waits_for_an_envoy_that_is_letting_go(path: str, pipes: list[Pipes]) -> None:
    async with serving(path) as registrar:
        await trio.sleep(10)
        assert await registrar.ask(REGISTER, pipes[0].line) == b"ok\n"
        (lease,) = registrar.state.registry
        registrar.state.label((lease, *make_labelled()))
        registrar.state.poll("sleeper", "", 1)
        pipes[0].die()
        await trio.testing.wait_all_tasks_blocked()
        assert await registrar.ask(CLAIM) == b"free\n"
        assert trio.current_time() == pytest.approx(10 + PORT_TIMEOUT)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"nonsense\n", b"unknown message 'nonsense'"),
        (REGISTER.replace(b"tcp", b"sctp"), b"only tcp and udp"),
        (REGISTER.replace(b"8080", b"99999"), b"not a port"),
        (REGISTER.replace(b"0.0.0.0", b"\xff\xfe"), b"not an IP address"),
        (b"adopt\n", b"refused"),
        (adopt("x"), b"invalid literal"),
        (REGISTER + REGISTER, b"not one line"),
        (b"x" * 1_000_000, b"not one line"),
    ],
)
@in_trio
async def test_what_is_no_message_is_refused_with_the_reason(
    path: str, pipes: list[Pipes], message: bytes, words: bytes
) -> None:
    async with serving(path) as registrar:
        async with await registrar.connect() as stream:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
            try:
                await registrar.send(stream, message[:4000], pipes[0].line)
                await stream.send_all(message[4000:])
            except (trio.BrokenResourceError, BrokenPipeError):
                pass
            reply = await answer(stream)
        assert len(registrar.state.registry) == 0
        assert reply.startswith(b"refused ") and words in reply
        assert reply.count(b"\n") == 1 and reply.endswith(b"\n")


Descriptors = Callable[[list[Pipes]], list[int]]
DEV_NULL = os.open("/dev/null", os.O_RDWR)


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (lambda pipes: [], b"two pipes"),
        (lambda pipes: [pipes[0].lease_read, DEV_NULL], b"two pipes"),
        (lambda pipes: [pipes[0].wake_write, pipes[0].lease_read], b"pipes"),  # the wrong way round
        (lambda pipes: [pipes[0].lease_read, pipes[0].wake], b"pipes"),
        (lambda pipes: [p.lease_read for p in pipes] * 2, b"too many file descriptors"),
        (lambda pipes: [pipes[0].lease_read] * 200, b"too many file descriptors"),
    ],
)
@in_trio
async def test_descriptors_that_are_no_line_are_refused_and_closed(
    path: str, pipes: list[Pipes], choose: Descriptors, words: bytes
) -> None:
    async with serving(path) as registrar:
        reply = await registrar.ask(REGISTER, choose(pipes))
        for pipe in pipes:
            pipe.close()  # what a registrar would take for a shim's end
        await trio.testing.wait_all_tasks_blocked()
        assert reply.startswith(b"refused ") and words in reply
        assert len(registrar.state.registry) == 0


@in_trio
async def test_half_a_message_is_refused_when_its_sender_ends_or_takes_too_long(path: str) -> None:
    async with serving(path) as registrar:
        async with await registrar.connect() as stream:
            await stream.send_all(REGISTER[:-1])
            await stream.send_eof()
            assert (await answer(stream)).startswith(b"refused not one line")
        began = trio.current_time()
        async with await registrar.connect() as stream:
            await stream.send_all(REGISTER[:-1])
            assert await answer(stream) == b"refused no message came in time\n"
        assert trio.current_time() - began == pytest.approx(registration.MESSAGE_TIMEOUT)


@in_trio
async def test_a_message_may_come_in_pieces_and_its_pipes_with_any_of_them(
    path: str, pipes: list[Pipes]
) -> None:
    async with serving(path) as registrar:
        async with await registrar.connect() as stream:
            for i in range(len(REGISTER)):
                await registrar.send(stream, REGISTER[i : i + 1], pipes[0].line if i == 5 else [])
                await trio.testing.wait_all_tasks_blocked()
            assert await answer(stream) == b"ok\n"


@in_trio
async def test_idle_connections_hold_a_registration_up_no_longer_than_one_message_may_take(
    path: str, pipes: list[Pipes]
) -> None:
    async with serving(path) as registrar:
        idle = [await registrar.connect() for _ in range(600)]
        await trio.testing.wait_all_tasks_blocked()
        assert await registrar.ask(REGISTER, pipes[0].line) == b"ok\n"
        assert trio.current_time() <= registration.MESSAGE_TIMEOUT + 0.01
        for stream in idle:
            await stream.aclose()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@in_trio
async def test_another_user_may_not_register_even_where_it_can_connect(pipes: list[Pipes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        async with serving(f"{directory}/s") as registrar:
            Path(registrar.path).chmod(0o666)
            os.seteuid(65534)
            try:
                stream = await registrar.connect()
            finally:
                os.seteuid(0)
            async with stream:
                await registrar.send(stream, REGISTER, pipes[0].line)
                assert (await answer(stream)).startswith(b"refused user 65534 may not register")
            assert len(registrar.state.registry) == 0


def test_the_socket_is_its_owners_alone_in_a_directory_that_others_may_pass(path: str) -> None:
    with registration.listen(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) == 0o755


def test_a_socket_that_nobody_serves_is_replaced(path: str) -> None:
    registration.listen(path).close()
    with registration.listen(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_second_registrar_is_refused_and_the_first_goes_on(path: str) -> None:
    with registration.listen(path), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(registration.SocketTaken, match="another registrar serves it already"):
            registration.listen(path)
        client.connect(path)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "s.sock"
    place.mkdir() if kind == "directory" else place.write_text("mine")
    with pytest.raises(registration.SocketTaken, match="is not a socket"):
        registration.listen(str(place))
    assert place.is_dir() or place.read_text() == "mine"
