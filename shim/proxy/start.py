"""The start of every published port: hold it, register it, tell dockerd, and become tiny.

dockerd waits for this on the critical path of ``docker run``, and one process stays behind for
each port, so start time and memory are the product.  Hence: nothing is imported here that a bare
``python3 -IS`` has not built in (no os, no socket, no json), and a TCP shim ends by replacing
itself with a shell that waits in ``read``: about 0.1 MB instead of Python's 4 (shim.proxy.park).

The shim's two pipes to the registrar, their words and the descriptors are in shim.wire.words.
"""

import _signal
import _socket
import posix
import sys
from time import monotonic, sleep

from shim.proxy.owner import (
    EADDRINUSE,
    check_that_nobody_is_there,
    give_to_envoy,
    hold_given,
    keep_from_others,
    share_with_all,
)
from shim.proxy.park import park_tcp, park_udp
from shim.wire.flags import FlagError, format_address, parse_flags
from shim.wire.words import (
    AWAY_SUFFIX,
    CLAIM,
    DEFAULT_SOCKET,
    HELD,
    LEASE_FD,
    LISTEN_FD,
    NAME,
    OWNER_SUFFIX,
    PORT_FD,
    PORT_TIMEOUT,
    REGISTER,
    REGISTRATION_TIMEOUT,
    RELAY_ROLE,
    REPORT_FAILED,
    REPORT_FD,
    REPORT_OK,
    RETURN_WAIT,
    SOCKET_VARIABLE,
    TAKEN,
    WAKE_FD,
)

# How long (seconds) a UDP shim waits for the first datagrams before it parks, and a TCP shim without a
# registrar before it does.
AWAKE = 0.3


class StartError(Exception):
    """The port cannot be served; the text is for dockerd, which shows it to the user."""


def main(file: str, args: "list[str]") -> None:
    """Be the shim that dockerd started as ``file args...``.  Does not return."""
    # Until the shell's traps are set, a signal ends the process: nothing is published yet, and a
    # Python handler could raise in the middle of any step.
    for number in (_signal.SIGINT, _signal.SIGTERM):
        _signal.signal(number, _signal.SIG_DFL)
    try:
        proto, host_ip, host_port, _, _, use_listen_fd = parse_flags(args)
        port = _take_port(proto, host_ip, host_port, use_listen_fd, args)
        shared = proto != "tcp" or give_to_envoy(port, _registrar_path())
    except (FlagError, StartError) as error:
        log(str(error))
        _report(REPORT_FAILED + str(error))
        sys.exit(1)
    registrar_fds = _open_control_pipes(port)
    registered = _register(args, registrar_fds)
    if registered and not shared:
        share_with_all(PORT_FD)
    if proto == "udp":
        _signal.signal(_signal.SIGINT, lambda *_: posix._exit(0))
    _report(REPORT_OK)
    posix.closerange(9, 64)
    if proto == "udp":
        if registered:
            park_udp(file, args, AWAKE)
        posix.execv(sys.executable, [sys.executable, "-IS", file, RELAY_ROLE, *args])
    if not registered:
        # dockerd may end the shim at once (another port failed), and a signal just before the shell's `read`
        # is lost where no registrar sends a nudge.  Before that it ends the process.
        sleep(AWAKE)
    park_tcp(args, _registrar_path())


def _take_port(proto: str, ip: str, port: int, given: bool, args: "list[str]") -> "_socket.socket":
    """The socket that holds the port: bound, and for TCP not listening, so that Envoy can.

    Raises StartError.
    """
    if proto == "sctp":
        raise StartError("SCTP is not supported by envoy-docker-shim: publish the port as tcp or udp")
    if proto not in ("tcp", "udp"):
        raise StartError(f"unsupported protocol {proto!r}: envoy-docker-shim serves tcp and udp")
    kind = _socket.SOCK_STREAM if proto == "tcp" else _socket.SOCK_DGRAM
    sock = _adopt(kind) if given else _socket.socket(_socket.AF_INET6 if ":" in ip else _socket.AF_INET, kind)
    try:
        if given:
            hold_given(sock)
            return sock
        if ":" in ip:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if proto == "tcp":
            _bind_beside_envoy(sock, (ip, port), args)
        else:
            sock.bind((ip, port))
    except OSError as error:
        reason = posix.strerror(error.errno or 0).lower()
        raise StartError(f"listen {proto} {format_address(ip, port)}: bind: {reason}") from None
    return sock


def _adopt(kind: int) -> "_socket.socket":
    try:
        sock = _socket.socket(fileno=LISTEN_FD)
        actual = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE)
    except OSError as error:
        raise StartError(f"-use-listen-fd: file descriptor {LISTEN_FD} is not a socket ({error})") from None
    if actual != kind:
        raise StartError(f"-use-listen-fd: file descriptor {LISTEN_FD} has socket type {actual}, not {kind}")
    return sock


def _bind_beside_envoy(sock: "_socket.socket", address: "tuple[str, int]", args: "list[str]") -> None:
    """Bind so that Envoy can bind and listen there too, and no other program.  Raises OSError.

    Two sockets that both have SO_REUSEADDR may share a port while at most one listens; so with it a port
    that another shim holds would pass for free.  Hence the first try is without.
    """
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        _bind_where_something_is(sock, address, args)
        keep_from_others(sock)
        check_that_nobody_is_there(sock)
    else:
        keep_from_others(sock)


def _bind_where_something_is(sock: "_socket.socket", address: "tuple[str, int]", args: "list[str]") -> None:
    """Bind beside the remains of earlier connections; wait for an Envoy that is about to close the port.

    The shim first waits for a registrar that is away, unless another shim has done so in vain.
    Raises OSError: another program has it.
    """
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    deadline = monotonic() + (0.0 if _is_away() else RETURN_WAIT)
    while True:
        # HELD: by another container's shim.  TAKEN: by a program other than a connected Envoy, if binding
        # fails.  FREE: Envoy had it, and listens there no more.  Empty: no registrar answers, and the shim
        # tries again until the deadline.
        answer = _ask(args)
        try:
            if answer == HELD:
                raise OSError(EADDRINUSE, "held")
            return sock.bind(address)
        except OSError as error:
            if error.errno != EADDRINUSE or answer in (HELD, TAKEN):
                raise
            if monotonic() > deadline:
                if not answer:
                    _note_away()
                raise
            sleep(0.02)


def _open_control_pipes(port: "_socket.socket") -> "list[int]":
    """Put lease, wake and port on their descriptors; returns the registrar's ends of the pipes."""
    lease_read, lease_write = posix.pipe()
    wake_read, wake_write = posix.pipe()
    wake = posix.open(f"/proc/self/fd/{wake_read}", posix.O_RDWR)
    # Any of these may sit on 6, 7 or 8 already: move them all out of the way first.
    ends = (lease_write, wake, port.detach(), lease_read, wake_write)
    for number, fd in enumerate(ends, 16):
        posix.dup2(fd, number, inheritable=False)
    posix.closerange(4, 16)
    for number, fixed in enumerate((LEASE_FD, WAKE_FD, PORT_FD), 16):
        posix.dup2(number, fixed)
    posix.closerange(16, 19)
    return [19, 20]


def _registrar_path() -> bytes:
    return posix.environ.get(SOCKET_VARIABLE.encode()) or DEFAULT_SOCKET.encode()


def _connect(timeout: float) -> "_socket.socket":
    registrar = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # A full backlog must fail at once, not block: a stopped registrar must not stop `docker run`.
    registrar.setblocking(False)
    registrar.connect(_registrar_path())
    registrar.settimeout(timeout)
    return registrar


def _message(verb: str, args: "list[str]") -> bytes:
    return "\0".join([verb, *args]).encode() + b"\n"


def _register(args: "list[str]", fds: "list[int]") -> bool:
    """Send the registrar its ends of the pipes, and close them here; returns whether that worked."""
    registered = True
    rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    try:
        registrar = _connect(REGISTRATION_TIMEOUT)
        registrar.sendmsg([_message(REGISTER, args)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        registrar.close()
    except OSError as error:
        # The container starts all the same: a registrar that starts later finds this shim in /proc.
        registered = False
        log(f"the registrar does not answer ({error}); it will find this port when it starts", warning=True)
    for fd in fds:
        posix.close(fd)
    return registered


def _ask(args: "list[str]") -> str:
    try:
        registrar = _connect(PORT_TIMEOUT)
        registrar.send(_message(CLAIM, args))
        answer = registrar.recv(16)
        registrar.close()
    except OSError:
        return ""
    return answer.decode().strip()


def _is_away() -> bool:
    try:
        posix.stat(_registrar_path() + AWAY_SUFFIX.encode())
    except OSError:
        return False
    return True


def _note_away() -> None:
    """Tell the next shims that a registrar which has been on this host was waited for in vain."""
    path = _registrar_path()
    away = path + AWAY_SUFFIX.encode()
    try:
        posix.readlink(path + OWNER_SUFFIX.encode())
        posix.close(posix.open(away, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o600))
        # A registrar that came in this very moment may have looked for the file before it was there.
        _connect(0.0).close()
        posix.unlink(away)
    except OSError:
        pass


def _report(text: str) -> None:
    try:
        posix.write(REPORT_FD, text.encode(errors="replace"))
        posix.close(REPORT_FD)
    except OSError as error:
        log(f"cannot report to dockerd on file descriptor {REPORT_FD}: {error}")
        sys.exit(1)


def log(text: str, warning: bool = False) -> None:
    """Log to syslog, and to standard error, which is /dev/null under dockerd and useful by hand."""
    import syslog

    syslog.openlog(NAME, syslog.LOG_PID, syslog.LOG_DAEMON)
    port = " ".join(sys.argv[2:])
    syslog.syslog(syslog.LOG_WARNING if warning else syslog.LOG_ERR, f"{text} [{port}]")
    try:
        posix.write(2, f"{NAME}: {text}\n".encode(errors="replace"))
    except OSError:
        pass
