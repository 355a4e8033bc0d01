"""What the kernel says of a process: figures by the names of Prometheus' own libraries, and capabilities."""

import os
import resource
import time
from pathlib import Path
from typing import NamedTuple


class Figures(NamedTuple):
    """``cpu`` is in seconds; ``started``: seconds since the epoch; memory is in bytes."""

    cpu: float
    started: float
    resident: int
    virtual: int
    open_files: int
    max_files: int


def figures() -> Figures:
    """As of now (proc(5): stat, fields 22, 23 and 24).  Raises OSError."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        # After the name, which may hold anything, comes field 3.
        fields = file.read().rpartition(")")[2].split()
    # Not from the boot's time in /proc/stat, which a unit with ProcSubset=pid does not see.
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Figures(
        cpu=used.ru_utime + used.ru_stime,
        started=time.time() - age,
        resident=int(fields[21]) * resource.getpagesize(),
        virtual=int(fields[20]),
        open_files=len(os.listdir("/proc/self/fd")),
        max_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def capabilities(at: Path = Path("/proc/self")) -> int:
    """Those in effect of the process there, a bit each (capability.h).  Raises OSError, ValueError."""
    return int((at / "status").read_text(errors="replace").partition("\nCapEff:")[2].split("\n")[0], 16)
