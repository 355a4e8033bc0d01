"""Checks of what the host itself must have: kernel, programs, disk, clock, limits."""

from collections.abc import Iterator

from shim.core.doctor.facts import CannotTell, Facts, Process, known
from shim.core.doctor.finding import Finding, listed

KERNEL, PYTHON = (5, 6), (3, 10)  # pidfd_getfd; docs/reference.md
# Bytes: a version unpacks about 6 MB.
CACHE_NEED = 32 << 20
# Descriptors: of the registrar for each shim, of Envoy for each port and thread, and what each needs besides.
REGISTRAR_EACH, REGISTRAR_BASE = 2, 64
ENVOY_BASE = 1024
# The share of its processes that dockerd's control group may have in use.
TASKS_SHARE = 0.9
CAP_NET_BIND_SERVICE = 1 << 10


def kernel(facts: Facts) -> Iterator[Finding]:
    """Old kernels cannot show whether a shim holds its port."""
    if facts.host.kernel < KERNEL:
        found = ".".join(map(str, facts.host.kernel))
        yield Finding(f"the kernel is {found}", "use Linux 5.6 or newer")


def python(facts: Facts) -> Iterator[Finding]:
    """dockerd starts the file with the host's python3."""
    if facts.host.python < PYTHON:
        found = ".".join(map(str, facts.host.python))
        yield Finding(f"python3 is {found}", "install Python 3.10 or newer as python3")


def nft(facts: Facts) -> Iterator[Finding]:
    """Without nft there is no firewall table."""
    if facts.settings.firewall and not facts.host.nft:
        yield Finding(
            "there is no nft: clients on the network are led past Envoy by Docker's own rules",
            "install nftables (Debian: apt-get install nftables), restart the registrar",
        )


def clock(facts: Facts) -> Iterator[Finding]:
    """A wrong clock makes traces and `status` wrong."""
    if facts.host.now < facts.host.file_time - 3600:
        yield Finding(
            f"the clock says {facts.host.clock}, which is before {facts.host.file} was written",
            "set the clock (timedatectl set-ntp true), restart Envoy",
        )


def cache(facts: Facts) -> Iterator[Finding]:
    """With no place to unpack to, every role starts slowly."""
    free = known(facts.host.cache_free)
    if free < CACHE_NEED:
        yield Finding(
            f"{facts.host.cache} has {free >> 20} MB left: a version needs 6 MB to unpack",
            "make room there, or set CACHE_DIRECTORY to another directory",
        )


def files(facts: Facts) -> Iterator[Finding]:
    """Registrar and Envoy need descriptors for each port."""
    ports = len(facts.shims)
    threads = max(1, facts.envoy.threads)
    wants: list[tuple[str, Process | None, int]] = [
        ("the registrar", facts.registrar.listener, REGISTRAR_EACH * ports + REGISTRAR_BASE),
        ("Envoy", facts.envoy.process, threads * ports + ENVOY_BASE),
    ]
    for name, process, need in wants:
        if process is not None and process.files is not None and process.files < need:
            yield Finding(
                f"{name} (process {process.pid}) may have {process.files} files open, and needs {need} for"
                f" {ports} ports",
                "give its unit LimitNOFILE=524288, restart it",
            )


def tasks(facts: Facts) -> Iterator[Finding]:
    """Every port is a process of dockerd's."""
    used, limit = known(facts.host.tasks)
    if limit and used > TASKS_SHARE * limit:
        yield Finding(
            f"dockerd's control group has {used} of the {limit} processes it may have",
            "give docker.service TasksMax=infinity, as the drop-in has it",
        )


def low_ports(facts: Facts) -> Iterator[Finding]:
    """Envoy needs a right for ports below 1024."""
    tcp = [shim.address for shim in facts.shims if shim.address.proto == "tcp"]
    low = [address for address in tcp if address.port < facts.host.first_free_port]
    if not low:
        return
    process = facts.envoy.process
    if process is None or process.capabilities is None:
        raise CannotTell("Envoy's process is not known")
    if not process.capabilities & CAP_NET_BIND_SERVICE:
        yield Finding(
            f"Envoy may not listen on ports below {facts.host.first_free_port}: {listed(low)}",
            "give it CAP_NET_BIND_SERVICE, as its unit does",
        )
