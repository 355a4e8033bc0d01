"""Finds running shims in /proc.

A shim is recognised by its owner (root, or the user of this process); by its whole command line, split at NUL
as the kernel keeps it, never by a name alone and never through a shell; by its namespaces (in another network
its port is not on this host); by not being in a container, whose root may have the host's network too; by the
pair of pipes that only a shim's start-up makes; and by holding the very port that it names.
"""

import errno
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shim.core.binding import Binding, binding_from_flags
from shim.wire.flags import FlagError
from shim.wire.words import LEASE_FD, MARK, NAME, PORT_FD, RELAY_ROLE, WAKE_FD

PROC = Path("/proc")
NAMESPACES = ("net", "pid", "user")
# Bytes of a command line.  The longest words are the shell's script and docker-proxy's flags.
COMMAND_LINE_LIMIT = 1 << 14
# What Docker, containerd and Podman name a container's cgroup after.
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_SYS_PIDFD_GETFD = 438  # on every architecture


class Shim(NamedTuple):
    """A running shim.  ``started`` is in clock ticks since the host's boot."""

    pid: int
    started: int
    args: list[str]
    binding: Binding


def flags_of(argv: list[str]) -> list[str] | None:
    """docker-proxy's flags, if this is the command line of a shim; else None.

    A shim's has three forms: parked (a shell), relaying (Python, from the file), and starting.
    """
    if len(argv) > 4 and argv[1] == "-c" and argv[2].startswith(MARK) and argv[3] == NAME:
        return argv[4:]
    if len(argv) > 4 and argv[1] == "-IS" and argv[3] == RELAY_ROLE:
        return argv[4:]
    if len(argv) > 5 and argv[1:3] == ["-IS", "-c"] and NAME in argv[3]:
        return argv[5:]
    return None


def find_shims(proc: Path = PROC) -> Iterator[Shim]:
    """Every running shim, oldest first."""
    own = _Surroundings(_namespaces(proc / "self"), _containers(proc / "self"))
    found = []
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        try:
            shim = _inspect(proc / name, own)
        except (OSError, ValueError, LookupError):
            # It ended meanwhile, or this process may not read it, or it is not what a shim looks like.
            continue
        if shim is not None and (proc != PROC or holds_its_port(shim)):
            found.append(shim)
    return iter(sorted(found, key=lambda shim: (shim.started, shim.pid)))


class _Surroundings(NamedTuple):
    """The namespaces and containers of this process."""

    namespaces: dict[str, int]
    containers: set[str]


def _inspect(process: Path, own: _Surroundings) -> Shim | None:
    # First of all: another user's process can have a command line of megabytes.
    if os.stat(process).st_uid not in (0, os.geteuid()) or _users(process) not in ({0}, {os.geteuid()}):
        return None
    with open(process / "cmdline", "rb", buffering=0) as file:
        command = file.read(COMMAND_LINE_LIMIT)
    args = flags_of(command.decode("utf-8", "surrogateescape").split("\0")[:-1])
    if args is None or not command.endswith(b"\0") or len(command) == COMMAND_LINE_LIMIT:
        return None
    try:
        if _namespaces(process) != own.namespaces:
            return None
    except PermissionError:
        # It may be a shim: the caller that opens its pipes will learn that it cannot.
        pass
    if not _containers(process) <= own.containers or not _has_control_pipes(process):
        return None
    try:
        return Shim(int(process.name), start_time(process), args, binding_from_flags(args))
    except FlagError:
        return None


def _namespaces(process: Path) -> dict[str, int]:
    return {kind: os.stat(process / "ns" / kind).st_ino for kind in NAMESPACES}


def _containers(process: Path) -> set[str]:
    """The containers that it is in, by its cgroup: a process cannot leave that without a right to it."""
    return set(_CONTAINER_ID.findall((process / "cgroup").read_text()))


def _users(process: Path) -> set[int]:
    """Real, effective, saved and file-system user: a set-user-id program that a user started has several."""
    # Read for every process of root's, so only the first lines, and only the one that matters is parsed.
    with open(process / "status", "rb", buffering=0) as file:
        _, _, rest = file.read(1024).partition(b"\nUid:")
    return {int(user) for user in rest.partition(b"\n")[0].split()}


def _has_control_pipes(process: Path) -> bool:
    """Whether the process has the pipes of a shim, or may have: descriptors of others can be hidden.

    A shim that is still starting has none, and will register; neither has the timer of a parked one.
    """
    try:
        os.stat(process / "fd" / str(LEASE_FD))
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    return True


def start_time(process: Path) -> int:
    """When a process started, in clock ticks since boot: field 22 of proc(5)'s ``stat``.

    ``process`` is its directory in /proc.  Raises OSError, ValueError, IndexError.
    """
    return int(_stat(str(process))[19])


def started_at(process: Path) -> float:
    """When a process started, in seconds since 1970, by the kernel's whole second of the boot.

    ``process`` is its directory in /proc.  Raises OSError, ValueError, IndexError.
    """
    _, _, rest = (process.parent / "stat").read_text().partition("\nbtime ")
    return int(rest.split()[0]) + start_time(process) / os.sysconf("SC_CLK_TCK")


def _stat(process: str) -> list[str]:
    """The fields of proc(5)'s ``stat`` after the process's name: ``state`` is the first."""
    # Read for every registration, so without pathlib.
    with open(f"{process}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def open_control_pipes(shim: Shim, proc: Path = Path("/proc")) -> tuple[int, int]:
    """The registrar's ends of a running shim's two pipes (shim.wire.words): (lease, wake), non-blocking.

    Raises OSError: the shim has ended (its process id may be another's by now), has no such pipes, or this
    process may not open them.
    """
    fds: list[int] = []
    try:
        for number, mode in ((LEASE_FD, os.O_RDONLY), (WAKE_FD, os.O_WRONLY)):
            # Opened as a path first, which has no effect, so that the file checked is the file opened.
            held = os.open(proc / str(shim.pid) / "fd" / str(number), os.O_PATH | os.O_CLOEXEC)
            try:
                if not stat.S_ISFIFO(os.fstat(held).st_mode):
                    raise OSError(f"process {shim.pid} has no pipe on file descriptor {number}")
                fds.append(os.open(f"/proc/self/fd/{held}", mode | os.O_NONBLOCK | os.O_CLOEXEC))
            finally:
                os.close(held)
        # The same process still, now that its pipes are open here: else another one has its number.
        if start_time(proc / str(shim.pid)) != shim.started:
            raise OSError("the process has ended")
    except BaseException as error:
        for fd in fds:
            os.close(fd)
        if isinstance(error, (ValueError, IndexError)):
            raise OSError(f"process {shim.pid} cannot be looked at: {error}") from None
        raise
    return fds[0], fds[1]


def holds_its_port(shim: Shim) -> bool:
    """Whether the shim's PORT_FD is a socket bound to the address in its flags.

    True, too, where that cannot be seen: no CAP_SYS_PTRACE, a sandbox, a kernel before 5.6.
    """
    try:
        fd = _copy_of(shim.pid, PORT_FD)
    except (PermissionError, NotImplementedError):
        return True
    except OSError:
        return False
    try:
        port = socket.socket(fileno=fd)
    except OSError:  # it is no socket
        os.close(fd)
        return False
    proto, *address = shim.binding.address
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with port:
        return port.type == kind and list(port.getsockname()[:2]) == address


def _copy_of(pid: int, fd: int) -> int:
    """A new descriptor for what another process has open.  Raises OSError, NotImplementedError."""
    try:
        # Only here, where there is a candidate; it fails to load in some sandboxes.
        import ctypes

        syscall = ctypes.CDLL(None, use_errno=True).syscall
    except (ImportError, MemoryError, OSError):
        raise NotImplementedError from None
    process = os.pidfd_open(pid)
    try:
        copy: int = syscall(_SYS_PIDFD_GETFD, process, fd, 0)
        code = ctypes.get_errno()
    finally:
        os.close(process)
    if copy >= 0:
        return copy
    if code == errno.ENOSYS:
        raise NotImplementedError
    raise OSError(code, os.strerror(code))


def parent_of(pid: int) -> int:
    """The process that started ``pid``, 1 when that one has died, 0 where it cannot be seen."""
    try:
        return origin_of(pid)[0]
    except (OSError, ValueError, IndexError):
        return 0


def origin_of(pid: int) -> tuple[int, int]:
    """(parent, start time as ``start_time`` has it).  Raises OSError, ValueError, IndexError."""
    fields = _stat(f"/proc/{pid}")
    return int(fields[1]), int(fields[19])


class Probes(NamedTuple):
    """What the registrar asks /proc, as one argument."""

    find_shims: Callable[[], Iterable[Shim]] = find_shims
    open_control_pipes: Callable[[Shim], tuple[int, int]] = open_control_pipes
    origin_of: Callable[[int], tuple[int, int]] = origin_of
    parent_of: Callable[[int], int] = parent_of


PROBES = Probes()
