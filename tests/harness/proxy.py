"""Starts the file as dockerd starts its userland proxies, and stops it as dockerd does.

The twin of moby's StartProxy: the status pipe on descriptor 3, the bound socket (engine >= 28) on 4,
/dev/null on 0 to 2, 16 seconds of patience; to stop, SIGINT and then a wait for the end.

    with start_proxy(artifact, flags("tcp", ("127.0.0.1", 8080), ("127.0.0.1", 80))) as proxy:
        ...
    assert proxy.status == 0
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .clients import Address

REPORT_FD, LISTEN_FD = 3, 4
TIMEOUT = 16.0  # as dockerd's
# Descriptors are moved up here first, so that none of them is in the way of 3 and 4.
HIGH = 10
_IP_PKTINFO = 8  # <linux/in.h>; the socket module has no name for it before Python 3.14


class ProxyFailed(AssertionError):
    """dockerd would not start the container; the text is what `docker run` shows."""

    status: int | None = None  # what the process ended with


class Proxy:
    """A proxy that has said "0\\n".  A context manager: stopped on exit as dockerd stops it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None  # once it has ended; negative: by that signal
        self._handle = os.pidfd_open(pid)

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGINT, timeout: float = 5.0) -> int:
        """Signal it, wait for its end, and return its status; a second call returns it again."""
        if self.status is None:
            signal.pidfd_send_signal(self._handle, number)
            return self.wait(timeout)
        return self.status

    def wait(self, timeout: float = 5.0) -> int:
        """Its status once it has ended.  One that does not is killed, and an AssertionError raised."""
        ended = _readable(self._handle, timeout)
        found = "" if ended else self._what_it_does()
        if not ended:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._handle)
        assert ended, f"process {self.pid} did not end in {timeout} s: {found}"
        return self.status

    def _what_it_does(self) -> str:
        """Enough to tell a signal that was lost from one that is being acted on."""
        at = Path(f"/proc/{self.pid}")
        status = [
            line
            for line in (at / "status").read_text().splitlines()
            if line.startswith(("State", "Sig", "ShdPnd"))
        ]
        return " ".join((self.argv()[0], (at / "wchan").read_text(), *status))

    def argv(self) -> list[str]:
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def flags(proto: str, host: Address, container: Address) -> list[str]:
    """docker-proxy's command line for this published port."""
    return [
        *("-proto", proto, "-host-ip", host[0], "-host-port", str(host[1])),
        *("-container-ip", container[0], "-container-port", str(container[1])),
    ]


def start_proxy(
    path: str | os.PathLike[str],
    args: Sequence[str],
    listen: socket.socket | None = None,
    *,
    env: Mapping[str, str] | None = None,
    stderr: str | os.PathLike[str] = os.devnull,
    timeout: float = TIMEOUT,
    shell: str | os.PathLike[str] = "",
) -> Proxy:
    """Start it, and return once it says that it runs.  Raises ProxyFailed.

    With ``listen`` it gets that socket and -use-listen-fd; the caller closes its own copy then, as
    dockerd does.  ``shell``: a program that is its /bin/sh.
    """
    argv = [os.fspath(path), *args, *(["-use-listen-fd"] if listen is not None else [])]
    if shell:
        argv.insert(0, "/bin/sh")  # as the kernel puts it; bash and busybox go by that name
    with contextlib.ExitStack() as held:
        # In packet mode a read gets what one write wrote: "0" and then a newline would not pass for "0\\n".
        report, child_report = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
        held.callback(os.close, report)
        with contextlib.ExitStack() as given:
            given.callback(os.close, child_report)
            passed = {REPORT_FD: child_report}
            if listen is not None:
                passed[LISTEN_FD] = listen.fileno()
            pid = os.posix_spawn(
                os.fspath(shell) or argv[0],
                argv,
                dict(os.environ if env is None else env),
                file_actions=[*_standard_streams(stderr), *_moved(passed, given)],
                setpgroup=0,
                setsigdef=[signal.SIGPIPE],  # ignored in every Python, and so in its children
            )
        proxy = Proxy(pid)
        try:
            _read_answer(report, timeout)
        except ProxyFailed as failure:
            failure.status = proxy.wait()
            raise
        except BaseException:
            proxy.stop(signal.SIGKILL)
            raise
        return proxy


def refusal(
    path: str | os.PathLike[str],
    args: Sequence[str],
    listen: socket.socket | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a proxy that must not start says: all after "1\\n".  It must end with 1."""
    try:
        proxy = start_proxy(path, args, listen, env=env)
    except ProxyFailed as failure:
        assert failure.status == 1, f"{failure} (ended with {failure.status})"
        return str(failure)
    proxy.stop(signal.SIGKILL)
    raise AssertionError(f"{args} started")


def bound_socket(proto: str, address: Address, *, packet_info: bool = True) -> socket.socket:
    """The socket that engine >= 28 passes: bound, TCP listening, UDP with IP_PKTINFO unless told not to."""
    six = ":" in address[0]
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    try:
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if proto == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif packet_info:
            option = (
                (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if six else (socket.IPPROTO_IP, _IP_PKTINFO)
            )
            sock.setsockopt(*option, 1)
        sock.bind(address)
        if proto == "tcp":
            sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def free_port(proto: str, ip: str) -> int:
    """A port that nobody has right now.

    Not for keeping the socket: one that was bound to port 0 gives its port up when it is shut down.
    """
    with bound_socket(proto, (ip, 0)) as sock:
        return int(sock.getsockname()[1])


def _standard_streams(stderr: str | os.PathLike[str]) -> list[tuple[int, int, str, int, int]]:
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return [*null, (os.POSIX_SPAWN_OPEN, 2, os.fspath(stderr), mode, 0o600)]


def _moved(passed: Mapping[int, int], given: contextlib.ExitStack) -> list[tuple[int, int, int]]:
    actions = []
    for target, fd in passed.items():
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)
        given.callback(os.close, high)
        actions.append((os.POSIX_SPAWN_DUP2, high, target))
    return actions


def _read_answer(report: int, timeout: float) -> None:
    """dockerd reads two bytes, once; when they are not "0\\n", the text is all that follows."""
    deadline = time.monotonic() + timeout
    if not _readable(report, timeout):
        raise ProxyFailed("timed out starting the userland proxy")
    if (answer := os.read(report, 65536)) == b"0\n":
        return
    while _readable(report, deadline - time.monotonic()) and (data := os.read(report, 65536)):
        answer += data
    raise ProxyFailed(answer[2:].decode() if answer[:2] == b"1\n" else f"no answer but {answer!r}")


def _readable(fd: int, timeout: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout) * 1000))


def sharing(address: Address, user: int) -> socket.socket:
    """A socket of that user's with all options that may share a port, as Envoy's are.  Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        if ":" in address[0]:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        os.fchown(sock.fileno(), user, -1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock
