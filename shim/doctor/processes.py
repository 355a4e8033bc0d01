"""Processes of this host: who they are, what they may do, and which one listens at an address."""

import os
import socket
from pathlib import Path

from shim.core.doctor.facts import Process
from shim.core.endpoint import Endpoint
from shim.host.peer_credentials import credentials_of
from shim.host.process import capabilities
from shim.host.procfs import started_at
from shim.host.tcp_sockets import listening

# Seconds that a Unix socket may take to accept.
BOUND = 1.0


def process(pid: int, proc: Path = Path("/proc")) -> Process | None:
    """The process; None: there is none, or nothing of it may be seen."""
    at = proc / str(pid)
    try:
        name = (at / "comm").read_text().strip()
        argv = tuple((at / "cmdline").read_text(errors="replace").split("\0")[:-1])
        started = started_at(at)
    except (OSError, ValueError, IndexError):
        return None
    return Process(pid, name, argv, started, _files(at), _capabilities(at))


def _files(at: Path) -> int | None:
    try:
        for line in (at / "limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return None if soft == "unlimited" else int(soft)
    except (OSError, ValueError, IndexError):
        pass
    return None


def _capabilities(at: Path) -> int | None:
    try:
        return capabilities(at)
    except (OSError, ValueError):
        return None


def listener(endpoint: Endpoint) -> Process | None:
    """The process that listens there; None: none does, or it cannot be seen."""
    try:
        pid = _of_socket(endpoint.path) if endpoint.path else _of_port(endpoint.host, endpoint.port)
    except OSError:
        return None
    return process(pid) if pid else None


def _of_socket(path: str) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(BOUND)
        sock.connect(path)
        return credentials_of(sock).pid


def _of_port(host: str, port: int) -> int:
    places = {host, "0.0.0.0", "::", *(("127.0.0.1", "::1") if host == "localhost" else ())}
    wanted = {f"socket:[{found.inode}]" for found in listening() if found.port == port and found.ip in places}
    return holder_of(wanted) if wanted else 0


def holder_of(links: set[str], proc: Path = Path("/proc")) -> int:
    """The first process that has one of these open, such as ``socket:[123]``; 0: none that can be seen."""
    for name in filter(str.isdecimal, os.listdir(proc)):
        try:
            with os.scandir(proc / name / "fd") as descriptors:
                for descriptor in descriptors:
                    if os.readlink(descriptor.path) in links:
                        return int(name)
        except OSError:
            continue
    return 0


def named(name: str, proc: Path = Path("/proc")) -> int:
    """The oldest process of that name in this process's network namespace; 0: there is none.

    Whose namespace may not be seen is taken for one of here.
    """
    here = os.stat(proc / "self/ns/net").st_ino
    found = []
    for pid in filter(str.isdecimal, os.listdir(proc)):
        try:
            same = (proc / pid / "comm").read_text().strip() == name
            if same and os.stat(proc / pid / "ns/net").st_ino == here:
                found.append(int(pid))
        except PermissionError:
            found.append(int(pid))
        except OSError:
            continue
    return min(found, default=0)


def children(pid: int, proc: Path = Path("/proc")) -> list[tuple[str, ...]]:
    """The command lines of a process's children."""
    found = []
    for listing in (proc / str(pid) / "task").glob("*/children"):
        try:
            for child in listing.read_text().split():
                text = (proc / child / "cmdline").read_text(errors="replace")
                found.append(tuple(text.split("\0")[:-1]))
        except OSError:
            continue
    return found
