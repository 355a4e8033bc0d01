"""What a process holds: memory, descriptors, threads; and what is left of those that have ended."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shim.host.procfs import flags_of
from tests.harness.host import Host
from tests.harness.stack import Stack


class Usage(NamedTuple):
    """``pipes``: two for each lease, and none else.  ``files``: all other descriptors."""

    rss_kb: int
    pipes: int
    files: int
    threads: int


def usage(pid: int) -> Usage:
    kinds: Counter[bool] = Counter()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            kinds[os.readlink(f"/proc/{pid}/fd/{entry}").startswith("pipe:")] += 1
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return Usage(int(status["VmRSS"].split()[0]), kinds[True], kinds[False], int(status["Threads"]))


def envoy_holds(stack: Stack) -> dict[str, int]:
    """Envoy keeps a listener that has gone, for the connections that it had, for as long as it drains."""
    gauges = "^listener_manager.total_listeners_(active|draining)$"
    return {"rss_kb": usage(stack.envoy.pid).rss_kb, **stack.envoy.stats(gauges)}


def zombies(parents: set[int]) -> list[str]:
    """Ended children that these processes have not waited for."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            name, (state, parent) = stat.rpartition(")")[0], stat.rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) in parents:
                found.append(f"{name}) of process {parent}")
    return found


def shims(host: Host) -> set[int]:
    """Every shim of that machine, and the timers that they start, whoever their parent is."""
    found = set()
    for pid in host.pids():
        with contextlib.suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            if flags_of(argv) is not None or (argv[:1] == ["sleep"] and _in_namespace_of(host, pid)):
                found.add(pid)
    return found


def _in_namespace_of(host: Host, pid: int) -> bool:
    """A container's own processes are the machine's too, but in other network namespaces."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(host.path).st_ino


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())
