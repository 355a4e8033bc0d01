"""Finds running shims in /proc.

A shim is recognised by its owner (root, or the user of this process); by its whole command line, split at NUL
as the kernel keeps it, never by a name alone and never through a shell; by its namespaces (in another network
its port is not on this host); by not being in a container, whose root may have the host's network too; by the
pair of pipes that only a shim's start-up makes; and by holding the very port that it names.
"""

import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shim.core.binding import Binding, binding_from_flags
from shim.host.pidfds import copy_of
from shim.wire.flags import FlagError
from shim.wire.words import GIVEN, LEASE_FD, MARK, NAME, PORT_FD, RELAY_ROLE, WAKE_FD

PROC = Path("/proc")
SHELL = "/bin/sh"
# How dockerd's flags begin and end where it gives the port.
FIRST_LAST = ["-proto", GIVEN]
NAMESPACES = ("net", "pid", "user")
# Bytes of a command line.  The longest words are the shell's script and docker-proxy's flags.
COMMAND_LINE_LIMIT = 1 << 14
# What Docker, containerd and Podman name a container's cgroup after.
_CONTAINER_ID = re.compile(rb"[0-9a-f]{64}")
# Bytes of the kernel's own texts: a line for each of a dozen hierarchies, and some fifty numbers.
CGROUP_LIMIT = 1 << 16
STATUS_LIMIT = STAT_LIMIT = 1 << 12


class Shim(NamedTuple):
    """A running shim.  ``started`` is in clock ticks since the host's boot.

    ``waiting``: it is a shell that waits to be told that its port is held (shim.registrar.starts), and
    ``ignored`` are the signals that it ignores, a bit each.
    """

    pid: int
    started: int
    args: list[str]
    binding: Binding
    waiting: bool = False
    ignored: int = 0


def flags_of(argv: list[str]) -> list[str] | None:
    """docker-proxy's flags, if this is the command line of a shim; else None.

    A shim's has four forms: parked (a shell), relaying (Python, from the file), and starting, as Python or as
    the shell that runs the file.
    """
    if len(argv) > 4 and argv[1] == "-c" and argv[2].startswith(MARK) and argv[3] == NAME:
        return argv[4:]
    if len(argv) > 4 and argv[1] == "-IS" and argv[3] == RELAY_ROLE:
        return argv[4:]
    if len(argv) > 5 and argv[1:3] == ["-IS", "-c"] and NAME in argv[3]:
        return argv[5:]
    return argv[2:] if _is_waiting(argv) else None


def _is_waiting(argv: list[str]) -> bool:
    """Whether this is the command line of a shell that runs the file, for a port that dockerd gives."""
    return len(argv) > 4 and argv[0] == SHELL and argv[1][:1] == "/" and [argv[2], argv[-1]] == FIRST_LAST


def find_shims(proc: Path = PROC) -> Iterator[Shim]:
    """Every running shim, oldest first."""
    own = surroundings(proc)
    found = []
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        shim = shim_at(int(name), own, proc)
        if shim is not None and (proc != PROC or holds_its_port(shim)):
            found.append(shim)
    return iter(sorted(found, key=lambda shim: (shim.started, shim.pid)))


class Surroundings(NamedTuple):
    """The namespaces and containers that a process is in."""

    namespaces: dict[str, int]
    containers: set[bytes]


def surroundings(proc: Path = PROC) -> Surroundings:
    """This process's own.  Raises OSError."""
    return Surroundings(_namespaces(f"{proc}/self"), _containers(f"{proc}/self"))


def shim_at(pid: int, own: Surroundings, proc: Path = PROC) -> Shim | None:
    """The shim that this process is, by all but its port; None: it is none, has ended, or cannot be read."""
    try:
        return _inspect(f"{proc}/{pid}", pid, own)
    except (OSError, ValueError, LookupError):
        return None


# Read for every process of root's, and at the start of every port: without pathlib, and in one read each.


def _inspect(process: str, pid: int, own: Surroundings) -> Shim | None:
    # First of all: another user's process can have a command line of megabytes.
    if os.stat(process).st_uid not in (0, os.geteuid()):
        return None
    status = _read(f"{process}/status", STATUS_LIMIT)
    if _users(status) not in ({0}, {os.geteuid()}):
        return None
    command = _read(f"{process}/cmdline", COMMAND_LINE_LIMIT)
    argv = command.decode("utf-8", "surrogateescape").split("\0")[:-1]
    args = flags_of(argv)
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
        binding = binding_from_flags(args)
        started, waiting = int(_stat(process)[19]), _is_waiting(argv)
        return Shim(pid, started, args, binding, waiting, _ignored(status) if waiting else 0)
    except FlagError:
        return None


def _read(path: str, limit: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)


def _namespaces(process: str) -> dict[str, int]:
    return {kind: os.stat(f"{process}/ns/{kind}").st_ino for kind in NAMESPACES}


def _containers(process: str) -> set[bytes]:
    """The containers that it is in, by its cgroup: a process cannot leave that without a right to it."""
    return set(_CONTAINER_ID.findall(_read(f"{process}/cgroup", CGROUP_LIMIT)))


def _users(status: bytes) -> set[int]:
    """Real, effective, saved and file-system user: a set-user-id program that a user started has several."""
    _, _, rest = status.partition(b"\nUid:")
    return {int(user) for user in rest.partition(b"\n")[0].split()}


def _ignored(status: bytes) -> int:
    """The signals that a process ignores, a bit each."""
    _, _, rest = status.partition(b"\nSigIgn:")
    return int(rest.split(None, 1)[0], 16)


def _has_control_pipes(process: str) -> bool:
    """Whether the process has the pipes of a shim, or may have: descriptors of others can be hidden.

    A shim that is still starting has none, and will register; neither has the timer of a parked one.
    """
    try:
        os.stat(f"{process}/fd/{LEASE_FD}")
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
    return _read(f"{process}/stat", STAT_LIMIT).decode("ascii", "replace").rpartition(")")[2].split()


def open_control_pipes(shim: Shim, proc: Path = Path("/proc")) -> tuple[int, int]:
    """The registrar's ends of a running shim's two pipes (shim.wire.words): (lease, wake), non-blocking.

    Raises OSError: the shim has ended (its process id may be another's by now), has no such pipes, or this
    process may not open them.
    """
    process = f"{proc}/{shim.pid}"
    fds: list[int] = []
    try:
        for number, mode in ((LEASE_FD, os.O_RDONLY), (WAKE_FD, os.O_WRONLY)):
            # Opened as a path first, which has no effect, so that the file checked is the file opened.
            held = os.open(f"{process}/fd/{number}", os.O_PATH | os.O_CLOEXEC)
            try:
                if not stat.S_ISFIFO(os.fstat(held).st_mode):
                    raise OSError(f"process {shim.pid} has no pipe on file descriptor {number}")
                fds.append(os.open(f"/proc/self/fd/{held}", mode | os.O_NONBLOCK | os.O_CLOEXEC))
            finally:
                os.close(held)
        # The same process still, now that its pipes are open here: else another one has its number.
        if int(_stat(process)[19]) != shim.started:
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
        port_of(shim).close()
    except (PermissionError, NotImplementedError):
        return True
    except OSError:
        return False
    return True


def port_of(shim: Shim) -> socket.socket:
    """The shim's own socket, the same open file, if it is bound to the address in its flags.

    Raises OSError: it is not; PermissionError, NotImplementedError: it cannot be seen.
    """
    fd = copy_of(shim.pid, PORT_FD)
    try:
        port = socket.socket(fileno=fd)
    except OSError:  # it is no socket
        os.close(fd)
        raise
    try:
        proto, *address = shim.binding.address
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        if port.type != kind or list(port.getsockname()[:2]) != address:
            raise OSError(f"process {shim.pid} does not hold {shim.binding.address}")
    except OSError:
        port.close()
        raise
    return port


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
