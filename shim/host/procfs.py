"""Finds running shims in /proc.

A shim is recognised by its whole command line, split at NUL as the kernel keeps it, never by a name
alone and never through a shell; by its owner (root, or whoever asks); by its network namespace (in
another one its port is not on this host); and by the pair of pipes that only our start-up makes.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shim.core.binding import Binding, binding_from_flags
from shim.wire.flags import FlagError
from shim.wire.words import LEASE_FD, MARK, NAME, RELAY_ROLE, WAKE_FD


class Shim(NamedTuple):
    """A running shim.  ``started`` is in clock ticks since the host's boot."""

    pid: int
    started: int
    args: list[str]
    binding: Binding


def flags_of(argv: list[str]) -> list[str] | None:
    """docker-proxy's flags, if this is the command line of a shim of ours.

    It has three forms: parked (a shell), relaying (Python, from the file), and starting.
    """
    if len(argv) > 4 and argv[1] == "-c" and argv[2].startswith(MARK) and argv[3] == NAME:
        return argv[4:]
    if len(argv) > 4 and argv[1] == "-IS" and argv[3] == RELAY_ROLE:
        return argv[4:]
    if len(argv) > 5 and argv[1:3] == ["-IS", "-c"] and NAME in argv[3]:
        return argv[5:]
    return None


def find_shims(proc: Path = Path("/proc")) -> Iterator[Shim]:
    """Every shim whose owner and network namespace are right, oldest first."""
    own_namespace = os.stat(proc / "self/ns/net").st_ino
    found = []
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        try:
            shim = _inspect(proc / name, own_namespace)
        except (OSError, ValueError, LookupError):
            # It ended meanwhile, is not ours to look at, or is nonsense.
            continue
        if shim is not None:
            found.append(shim)
    return iter(sorted(found, key=lambda shim: (shim.started, shim.pid)))


def _inspect(process: Path, own_namespace: int) -> Shim | None:
    argv = (process / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
    args = flags_of(argv)
    if args is None or _users(process) not in ({0}, {os.geteuid()}):
        return None
    try:
        if os.stat(process / "ns/net").st_ino != own_namespace:
            return None
    except PermissionError:
        # Ours for all we know: it is for whoever takes it up to say that it cannot.
        pass
    if not _has_control_pipes(process):
        return None
    try:
        return Shim(int(process.name), start_time(process), args, binding_from_flags(args))
    except FlagError:
        return None


def _users(process: Path) -> set[int]:
    """Real, effective, saved and file-system user: a set-user-id program that a user started has several."""
    lines = (process / "status").read_text().splitlines()
    return {int(user) for line in lines if line.startswith("Uid:") for user in line.split()[1:]}


def _has_control_pipes(process: Path) -> bool:
    """Whether the process has the pipes of a shim, or may have: others' descriptors are not shown to all.

    A shim that is still starting has none, and will come by itself; so has a parked one's timer.
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


def _stat(process: str) -> list[str]:
    """The fields of proc(5)'s ``stat`` after the process's name: ``state`` is the first."""
    # Read for every registration, so without pathlib.
    with open(f"{process}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def open_control_pipes(shim: Shim, proc: Path = Path("/proc")) -> tuple[int, int]:
    """The registrar's ends of a running shim's two pipes (shim.wire.words): (lease, wake), non-blocking.

    Raises OSError where the shim has ended (its process id may be another's by now), is not ours to open, or
    has no such pipes.
    """
    fds: list[int] = []
    try:
        for number, mode in ((LEASE_FD, os.O_RDONLY), (WAKE_FD, os.O_WRONLY)):
            path = proc / str(shim.pid) / "fd" / str(number)
            if not stat.S_ISFIFO(os.stat(path).st_mode):
                raise OSError(f"process {shim.pid} has no pipe on file descriptor {number}")
            fds.append(os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC))
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
