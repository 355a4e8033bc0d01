"""The registration socket: shims and `resync` send a binding here, with the registrar's ends of two pipes.

A message is one line, its words separated by NUL (shim.wire.words): ``register`` and docker-proxy's flags;
``adopt``, a process id and the flags (from `resync`, for another process); or ``claim`` and the flags, from a
shim whose port cannot be bound.  Pipes come along as SCM_RIGHTS.
"""

import fcntl
import logging
import os
import socket
import stat
from array import array
from pathlib import Path

import trio

from shim.core.binding import binding_from_flags
from shim.host.peer_credentials import credentials_of
from shim.registrar.state import State
from shim.wire.flags import FlagError
from shim.wire.words import ADOPT, CLAIM, FREE, GIVEN, HELD, KNOWN, OK, PORT_TIMEOUT, REFUSED, REGISTER, TAKEN

log = logging.getLogger("envoy-docker-shim")

BACKLOG = 4096
# Bytes; the longest line there can be is far shorter.
MESSAGE_LIMIT = 4096
# How long a peer may take to send its line, and to take the answer (seconds).
MESSAGE_TIMEOUT = 2.0
CONNECTION_LIMIT = 512
RIGHTS_LIMIT = 4
# After more connections than CONNECTION_LIMIT, /proc is searched for shims that found the queue full: when
# there were no more for CALM seconds, and at the latest after NO_CALM seconds.
CALM, NO_CALM = 1.0, 10.0


class SocketTaken(Exception):
    """Another registrar serves this socket."""


class Refused(Exception):
    """The peer's message is not a valid registration; the text is the answer."""


def listen(path: str, mode: int = 0o600) -> socket.socket:
    """The listening Unix socket, with this mode.  A file that no process serves is replaced.

    Raises SocketTaken, OSError.
    """
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise SocketTaken(f"{path} is there and is not a socket: remove it") from None
            os.unlink(path)
        except BlockingIOError:
            raise SocketTaken(f"{path}: another registrar serves it, and does not answer") from None
        else:
            raise SocketTaken(f"{path}: another registrar serves it already")
    Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(mask)
    sock.listen(BACKLOG)
    return sock


async def keep_serving(sock: socket.socket, path: str, state: State) -> None:
    """Serve ``sock``, which listens on ``path``; and on a new socket there whenever that one has gone.

    A cleaner that empties /run takes the file, and the registrar listens on an unlinked socket that no shim
    can reach.  That shows when Docker names a port whose shim did not register.
    """
    while True:
        identity = _identity(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, sock, state)
            while _identity(path) == identity:
                await state.shims.missed.wait()
                state.shims.missed.consume()
            nursery.cancel_scope.cancel()
        log.warning("%s was taken away: listening there anew", path)
        state.shims.port_owner.publish()
        sock = await _listen_again(path)


async def _listen_again(path: str) -> socket.socket:
    pause = 0.1
    while True:
        try:
            return listen(path)
        except (OSError, SocketTaken) as error:
            log.error("cannot listen for registrations: %s", error)
        await trio.sleep(pause)
        pause = min(2 * pause, 30.0)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def serve(sock: socket.socket, state: State) -> None:
    """Accept for ever.  ``sock`` was listening before /proc was searched, so that no shim is missed."""
    with trio.socket.from_stdlib_socket(sock) as listener:
        await _Connections(listener, state).run()


class _Connections:
    """The socket's connections, at most CONNECTION_LIMIT.

    One more evicts the connection that has been silent for longest: a shim, which sends its line at once,
    does not wait behind programs that send nothing.
    """

    def __init__(self, listener: trio.socket.SocketType, state: State) -> None:
        self._listener = listener
        self._state = state
        self._limit = trio.CapacityLimiter(CONNECTION_LIMIT)
        self._silent: dict[object, trio.CancelScope] = {}  # oldest first
        self._flooded = trio.Event()
        self._last_flooded = 0.0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._search_after_floods)
            while True:
                await self._make_room()
                await self._limit.acquire_on_behalf_of(token := object())
                try:
                    connection, _ = await self._listener.accept()
                except OSError as error:
                    self._limit.release_on_behalf_of(token)
                    # No descriptor is free, for example: connections wait in the backlog.
                    log.error("accept on the registration socket: %s", error)
                    self._note_flood()
                    await trio.sleep(0.1)
                    continue
                nursery.start_soon(self._attend, connection, token)

    async def _make_room(self) -> None:
        if self._limit.available_tokens:
            return
        self._note_flood()
        # The lines of connections just accepted may be there, but not read yet.
        await trio.lowlevel.checkpoint()
        if self._silent and not self._limit.available_tokens:
            self._silent.pop(next(iter(self._silent))).cancel()

    def _note_flood(self) -> None:
        self._last_flooded = trio.current_time()
        if not self._flooded.is_set():
            log.warning("more than %d connections to the registration socket", CONNECTION_LIMIT)
            self._flooded.set()

    async def _search_after_floods(self) -> None:
        while True:
            await self._flooded.wait()
            latest = trio.current_time() + NO_CALM
            while (calm_at := min(self._last_flooded + CALM, latest)) > trio.current_time():
                await trio.sleep_until(calm_at)
            self._flooded = trio.Event()
            admitted, _ = self._state.recover()
            if admitted:
                log.info("found %d shims that could not register", admitted)

    async def _attend(self, connection: trio.socket.SocketType, token: object) -> None:
        fds: list[int] = []
        try:
            with connection:
                answer = await self._answer(connection, fds, token)
                with trio.move_on_after(MESSAGE_TIMEOUT):
                    await connection.send(answer)
        except OSError as error:
            # A shim does not wait for its answer.
            log.debug("registration connection: %s", error)
        finally:
            for fd in fds:
                os.close(fd)
            self._limit.release_on_behalf_of(token)

    async def _answer(self, connection: trio.socket.SocketType, fds: list[int], token: object) -> bytes:
        pid, uid, _ = credentials_of(connection)
        try:
            if uid not in (0, os.geteuid()):
                raise Refused(f"user {uid} may not register ports: only root and the registrar's own user")
            with trio.move_on_after(MESSAGE_TIMEOUT) as patience:
                self._silent[token] = patience
                try:
                    line = await _receive(connection, fds)
                finally:
                    self._silent.pop(token, None)
            if patience.cancelled_caught:
                raise Refused("no message came in time")
            words = line.decode("utf-8", "replace").split("\0")
            return f"{await _follow(words, pid, fds, self._state)}\n".encode()
        except Refused as error:
            level = logging.DEBUG if self._flooded.is_set() else logging.WARNING
            log.log(level, "registration refused (process %d, user %d): %s", pid, uid, error)
            return f"{REFUSED} {error}\n".encode()


async def _receive(connection: trio.socket.SocketType, fds: list[int]) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data, ancillary, flags, _ = await connection.recvmsg(
            MESSAGE_LIMIT, socket.CMSG_SPACE(RIGHTS_LIMIT * 4)
        )
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds += array("i", rights[: len(rights) - len(rights) % 4])
        line += data
        if flags & socket.MSG_CTRUNC or len(fds) > RIGHTS_LIMIT:
            raise Refused("too many file descriptors")
        if not data and not line:
            raise OSError("nothing was said")  # a program that only tests whether the registrar is there
        if not data or len(line) > MESSAGE_LIMIT or b"\n" in line[:-1]:
            raise Refused(f"not one line of at most {MESSAGE_LIMIT} bytes: {line[:60]!r}")
    return line[:-1]


async def _follow(words: list[str], pid: int, fds: list[int], state: State) -> str:
    """Carry a message out; returns the answer, without its end of line.  Raises Refused."""
    verb, *args = words
    try:
        adopted = verb == ADOPT
        if adopted:
            pid, args = int(args[0]), args[1:]
            verb = REGISTER
        if verb not in (REGISTER, CLAIM):
            raise Refused(f"unknown message {verb[:40]!r}")
        binding = binding_from_flags(args)
    except (FlagError, ValueError, IndexError) as error:
        raise Refused(str(error)) from None
    if verb == CLAIM:
        if state.registry.held(binding.address):
            return HELD
        freed = await state.wait_until_free(binding.address, PORT_TIMEOUT)
        return FREE if freed else TAKEN
    if len(fds) < 2 or not (_is_pipe(fds[0], os.O_RDONLY) and _is_pipe(fds[1], os.O_WRONLY)):
        raise Refused("a registration comes with the shim's two pipes: one to read from, one to write to")
    lease_fd, wake_fd = fds[:2]
    del fds[:2]
    if GIVEN in args and not adopted:
        state.shims.starts.renew()
    lease_id = state.shims.admit(pid, binding, lease_fd, wake_fd)
    if lease_id is None:
        return KNOWN
    if adopted:
        state.shims.taken_up(lease_id)
    return OK


def _is_pipe(fd: int, wanted: int) -> bool:
    mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    # Exactly that mode: a reader that also holds a lease pipe for writing never sees its end of file.
    return stat.S_ISFIFO(os.fstat(fd).st_mode) and mode == wanted
