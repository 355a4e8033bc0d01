"""Memory and CPU time of processes, as the kernel accounts for them."""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LOOK_EVERY = 0.05
TIMEOUT = 180.0


class Memory(NamedTuple):
    """In kB.  ``private`` is what one process more costs; RSS also counts pages that all of them share."""

    private: float
    pss: float
    rss: float


def memory(pid: int) -> Memory:
    fields: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return Memory(fields["Private_Clean"] + fields["Private_Dirty"], fields["Pss"], fields["Rss"])


def private_total(pids: Collection[int]) -> float:
    return sum(memory(pid).private for pid in pids)


def available() -> float:
    """MemAvailable of the whole machine, in kB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1])
    raise LookupError("/proc/meminfo has no MemAvailable")


def cpu_seconds(*pids: int) -> float:
    """On a CPU so far, all threads, to the nanosecond."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def children_cpu() -> float:
    """Of all children of this process that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def most_bindings() -> int:
    """What the limit of open files allows, which only a privileged process may raise: two for each shim."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 500) // 2


def open_files_to_the_limit() -> None:
    """For this process and those it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle(pids: Callable[[], Collection[int]], quiet: float = 1.0) -> None:
    """Return once these processes have come to rest: for so many seconds none has run, or become another
    program, or come or gone."""
    deadline = time.monotonic() + TIMEOUT
    seen: object = None
    since = time.monotonic()
    while True:
        began = time.monotonic()
        looks = [_condition(pid) for pid in sorted(pids())]
        now = time.monotonic()
        if looks != seen:
            seen, since = looks, now
        if now - since >= quiet:
            return
        if now > deadline:
            raise TimeoutError(f"{len(looks)} processes did not come to rest in {TIMEOUT:g} s")
        time.sleep(max(LOOK_EVERY, now - began))  # a look at a thousand is work too


def _condition(pid: int) -> tuple[int, str, bytes]:
    try:
        return pid, f"{cpu_seconds(pid):.2f}", Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return pid, "", b""


def pin(core: int, *pids: int) -> None:
    """Every thread of these processes."""
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {core})


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """The calling thread, and what it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def on_core(core: int, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The command line that runs ``argv`` on one core."""
    return ["taskset", "-c", str(core), *(os.fspath(arg) for arg in argv)]
