"""Whether anybody connects to this host: the kernel's own count."""

from pathlib import Path

# Of the network namespace of whoever reads it; below a process's own folder, so that ProcSubset=pid shows it.
_COUNTERS = Path("/proc/self/net/snmp")


def accepted(counters: Path = _COUNTERS) -> int:
    """How many TCP connections have been accepted here (RFC 4022's PassiveOpens); -1: unknown."""
    try:
        names, values = (line.split() for line in counters.read_text().splitlines() if line[:4] == "Tcp:")
        return int(values[names.index("PassiveOpens")])
    except (OSError, ValueError, IndexError):
        return -1
