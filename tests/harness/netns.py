"""Programs started, and Python called: on this machine as it is, or in a network namespace of its own."""

import contextlib
import ctypes
import http.client
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from socket import socket as Socket
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import urlsplit

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWNET = 0x40000000
NETNS_DIR = Path("/run/netns")
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(AssertionError):
    """A program that had to succeed did not; the text holds its output."""


class HttpReply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def run(argv: Sequence[str | os.PathLike[str]], *, stdin: bytes = b"", timeout: float = 30, **kw: Any) -> str:
    """Run to the end and return its stdout; a failure or a timeout raises CommandError with its output."""
    try:
        done = subprocess.run(argv, check=False, input=stdin, capture_output=True, timeout=timeout, **kw)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{argv} did not end in {timeout} s: {error.stdout!r} {error.stderr!r}") from error
    if done.returncode:
        out = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise CommandError(f"{' '.join(map(str, argv))} (status {done.returncode}): {out}")
    return str(done.stdout, errors="replace")


def request(
    url: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 5.0,
    unix: Path | None = None,
) -> HttpReply:
    """One HTTP/1.1 exchange on a connection of its own, or through a Unix socket; any status is a reply."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    with contextlib.closing(connection):
        if unix is not None:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(timeout)
            connection.sock.connect(str(unix))
        connection.request(method, path, body=body, headers=dict(headers or {}))
        reply = connection.getresponse()
        return HttpReply(reply.status, reply.headers, reply.read())


class Place:
    """Where programs run and are asked: this machine itself, or, as a Namespace, one of its namespaces."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def argv(self, *argv: str | os.PathLike[str]) -> list[str]:
        """The command line that runs `argv` in here."""
        return [os.fspath(arg) for arg in argv]

    def popen(
        self, argv: Sequence[str | os.PathLike[str]], *, log: Path | None = None, **kw: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program in here, in a session of its own; its stdout and stderr are appended to `log`.

        Whatever still runs when a Host is closed is killed and reaped.
        """
        kw = {"stdin": subprocess.DEVNULL, "start_new_session": True, **kw}
        kw["env"] = tool_env(kw.get("env"))
        with contextlib.ExitStack() as stack:
            if log is not None:
                kw["stdout"] = kw["stderr"] = stack.enter_context(log.open("ab"))
            process = subprocess.Popen(self.argv(*argv), **kw)
        self._started.append(process)
        return process

    def run(self, *argv: str | os.PathLike[str], stdin: bytes = b"", timeout: float = 30, **kw: Any) -> str:
        """Run a program in here to its end; returns its stdout, raises CommandError."""
        kw["env"] = tool_env(kw.get("env"))
        return run(self.argv(*argv), stdin=stdin, timeout=timeout, **kw)

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` in here."""
        return fn(*args, **kwargs)

    def http_get(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5.0
    ) -> HttpReply:
        return self.call(request, url, headers=headers, timeout=timeout)

    def reap(self) -> None:
        """Collect the programs started here, which must have been killed before."""
        for process in self._started:
            process.wait(10)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


class Namespace(Place):
    """A network namespace kept by `ip netns`, with lo up, IPv6 on, and its addresses usable at once."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.path = NETNS_DIR / name
        self.make()

    def make(self) -> None:
        """Make the namespace itself, once."""
        run(["ip", "netns", "add", self.name], env=tool_env())
        self.call(_prepare_ipv6)
        self.run("ip", "link", "set", "lo", "up")

    def argv(self, *argv: str | os.PathLike[str]) -> list[str]:
        """The command line that runs `argv` in here; nsenter execs it, so its pid is the program's."""
        return ["nsenter", f"--net={self.path}", "--", *(os.fspath(arg) for arg in argv)]

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` on a thread of its own that has moved in here: sockets it makes belong here for good.

        Threads and processes that `fn` starts are in here too.
        """
        outcome: Future[T] = Future()
        thread = threading.Thread(target=_settle, args=(outcome, self.path, fn, args, kwargs), daemon=True)
        thread.start()
        thread.join()
        return outcome.result()

    def socket(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, *, timeout: float | None = 5.0
    ) -> Socket:
        """A socket of this namespace, for use on any thread."""
        sock = self.call(socket.socket, family, kind)
        sock.settimeout(timeout)
        return sock

    def connect(self, address: str, port: int, *, timeout: float = 5.0) -> Socket:
        return self.call(socket.create_connection, (address, port), timeout)

    def udp_ask(self, address: str, port: int, data: bytes, *, timeout: float = 1.0) -> bytes:
        """Send one datagram from a fresh port and return the answer; nothing in time is a TimeoutError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.socket(family, socket.SOCK_DGRAM, timeout=timeout) as sock:
            sock.connect((address, port))
            sock.send(data)
            return sock.recv(65536)


def tool_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """`env`, or this process's, with the system directories on PATH: `su` without `-` leaves them out."""
    env = dict(os.environ if env is None else env)
    env["PATH"] = f"{env.get('PATH', '/usr/bin:/bin')}:{SBIN}"
    return env


def _settle(outcome: Future[T], path: Path, fn: Callable[..., T], args: Any, kwargs: Any) -> None:
    try:
        _enter(path)
        outcome.set_result(fn(*args, **kwargs))
    except BaseException as error:
        outcome.set_exception(error)


def _enter(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"setns {path}: {os.strerror(code)}")
    finally:
        os.close(fd)


def _prepare_ipv6() -> None:
    # /proc/sys/net is the reading thread's own namespace.
    conf = Path("/proc/sys/net/ipv6/conf")
    for scope in ("all", "default", "lo"):
        (conf / scope / "disable_ipv6").write_text("0")
        (conf / scope / "accept_dad").write_text("0")


@contextlib.contextmanager
def new_network() -> Iterator[None]:
    """This thread, and all that it starts meanwhile, in a network with nothing but a loopback."""
    with open("/proc/thread-self/ns/net") as before:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            _prepare_ipv6()
            run(["ip", "link", "set", "lo", "up"], env=tool_env())
            yield
        finally:
            _libc.setns(before.fileno(), CLONE_NEWNET)
