"""Finds running shims in /proc.

A shim is recognised by its whole command line, split at NUL as the kernel keeps it, never by a name
alone and never through a shell; by its owner (root, or whoever asks); by its network namespace (in
another one its port is not on this host); and by the pair of pipes that only our start-up makes.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shim.core.binding import Binding, binding_from_flags
from shim.proxy.flags import FlagError
from shim.proxy.park import LEASE_FD, MARK, NAME, WAKE_FD


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
    if len(argv) > 4 and argv[1] == "-IS" and argv[3] == "relay":
        return argv[4:]
    if len(argv) > 5 and argv[1:3] == ["-IS", "-c"] and "envoy-docker-shim" in argv[3]:
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
    if not _has_line(process):
        return None
    try:
        return Shim(int(process.name), start_time(process), args, binding_from_flags(args))
    except FlagError:
        return None


def _users(process: Path) -> set[int]:
    """Real, effective, saved and file-system user: a set-user-id program that a user started has several."""
    lines = (process / "status").read_text().splitlines()
    return {int(user) for line in lines if line.startswith("Uid:") for user in line.split()[1:]}


def _has_line(process: Path) -> bool:
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
    """When a process started, in clock ticks since boot: field 22 of proc(5)'s ``stat``."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[19])


def open_line(pid: int, proc: Path = Path("/proc")) -> tuple[int, int]:
    """The registrar's ends of a shim's two pipes (see shim.proxy.start): (lease, wake), non-blocking.

    Raises OSError where the shim is gone, is not ours to open, or has no such pipes.
    """
    fds = []
    try:
        for number, mode in ((LEASE_FD, os.O_RDONLY), (WAKE_FD, os.O_WRONLY)):
            path = proc / str(pid) / "fd" / str(number)
            if not stat.S_ISFIFO(os.stat(path).st_mode):
                raise OSError(f"process {pid} has no pipe on file descriptor {number}")
            fds.append(os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return fds[0], fds[1]


def parent_of(pid: int) -> int:
    """The process that started ``pid``, 1 when that one has died, 0 where it cannot be seen."""
    try:
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def start_time_of(pid: int) -> int:
    """``start_time`` by process id.  Raises OSError, ValueError."""
    return start_time(Path("/proc", str(pid)))
