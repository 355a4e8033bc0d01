"""What is known of a host: gathered once by shim.doctor, and looked at by the checks.

Whatever could not be learnt is an Unknown in place of a value; ``known`` lets no check overlook that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from shim.core.binding import Address
from shim.core.endpoint import Endpoint
from shim.core.firewall.table import Served
from shim.core.ruleset.chains import Table
from shim.core.ruleset.iptables_rules import Mapped

T = TypeVar("T")


class Unknown(NamedTuple):
    """It could not be learnt; ``why`` is for the operator."""

    why: str


class CannotTell(Exception):
    """A check cannot be made; the text says why."""


def known(value: "T | Unknown") -> T:
    """The value.  Raises CannotTell."""
    if isinstance(value, Unknown):
        raise CannotTell(value.why)
    return value


class Process(NamedTuple):
    """A process of this host.  ``started``: seconds since 1970; None: what may not be seen."""

    pid: int
    name: str
    argv: tuple[str, ...] = ()
    started: float = 0.0
    files: int | None = None  # its limit of open files
    capabilities: int | None = None  # the effective ones, a bit each


class Collector(NamedTuple):
    """Where Envoy sends traces or metrics: the key that names it, and its cluster in Envoy."""

    key: str
    address: Endpoint
    cluster: str


class Settings(NamedTuple):
    """What the configuration says; the defaults where it cannot be used, and then ``error`` says why."""

    error: str
    file: str  # the file in force, or where one would be
    changed: float  # when it was written, seconds since 1970; 0: there is none
    api_address: Endpoint
    envoy_admin: Endpoint
    scrape_address: Endpoint | None
    collectors: tuple["Collector", ...]
    docker_host: str
    firewall: bool


@dataclass(frozen=True)
class Host:
    """This machine, and the file that runs here."""

    kernel: tuple[int, int]
    python: tuple[int, int]
    nft: bool
    now: float  # seconds since 1970
    clock: str  # the same for people
    file: str  # the file that this program is
    file_time: float  # when that was written
    cache: str
    cache_free: "int | Unknown"  # bytes
    forwarding: "bool | Unknown"  # IPv4's
    first_free_port: int  # of those that need no right
    interfaces: tuple[str, ...]  # those that clients on the network may come in by
    listening: "frozenset[tuple[str, int]] | Unknown"  # TCP addresses of this host's listening sockets
    # Of dockerd's control group: processes, and how many it may have (0: any).
    tasks: "tuple[int, int] | Unknown"


@dataclass(frozen=True)
class Rules:
    """The kernel's firewall."""

    tables: "tuple[Table, ...] | Unknown"
    mapped: "tuple[Mapped, ...] | Unknown"  # ports that Docker's rules lead to containers
    served: "frozenset[Served] | Unknown | None"  # what our table has; None: there is no such table


class Shim(NamedTuple):
    """A running shim.  ``current``: its shell's script is this file's."""

    pid: int
    address: Address
    current: bool


class Published(NamedTuple):
    """One published port of a running container, as Docker lists it."""

    address: Address
    container: str
    port: int  # the container's


class Container(NamedTuple):
    """A running container with published ports.  ``listens``: its listening TCP sockets."""

    name: str
    ips: frozenset[str]
    networks: frozenset[str]
    published: tuple[Published, ...]
    listens: "frozenset[tuple[str, int]] | Unknown"


class Network(NamedTuple):
    """A bridge network.  ``subnets``: of IPv4."""

    name: str
    bridge: str
    subnets: tuple[str, ...]
    internal: bool
    masqueraded: bool
    used: bool  # by a running container


class Ingress(NamedTuple):
    """A port that Swarm publishes by its ingress network."""

    service: str
    port: int


@dataclass(frozen=True)
class Docker:
    """What Docker's API says."""

    version: tuple[int, int]
    live_restore: bool
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    ingress: tuple[Ingress, ...]


class DaemonFile(NamedTuple):
    """dockerd's configuration file; ``error``: it is not valid JSON."""

    path: str
    settings: Mapping[str, Any]
    error: str = ""


class ProxyFile(NamedTuple):
    """The file that dockerd is to start for each port.  ``same``: its content is this one's."""

    path: str
    exists: bool
    executable: bool
    same: bool


@dataclass(frozen=True)
class Dockerd:
    """The daemon as a process, and its settings.  ``proxies``: docker-proxy processes it has started."""

    process: Process | None
    flags: Mapping[str, str]
    file: "DaemonFile | Unknown"
    proxy: ProxyFile | None
    proxies: int = 0

    def setting(self, name: str, default: Any) -> Any:
        """A setting by its name in the file, which is the flag's name too.  Raises CannotTell."""
        if name in self.flags:
            return {"true": True, "false": False}.get(self.flags[name], self.flags[name])
        return known(self.file).settings.get(name, default)


@dataclass(frozen=True)
class Registrar:
    """``status`` is the answer of /status (docs/reference.md); ``listener`` is who listens on its address."""

    status: "Mapping[str, Any] | Unknown"
    listener: Process | None


class Bootstrap(NamedTuple):
    """Envoy's configuration file.  ``current``: it is what `bootstrap` prints now."""

    path: str
    current: bool
    changed: float  # seconds since 1970


@dataclass(frozen=True)
class Envoy:
    """``stats`` are those asked for by name; ``admin_listener`` is who listens where its admin should be."""

    process: Process | None
    admin: Endpoint
    admin_listener: Process | None
    scrape_listener: Process | None
    stats: "Mapping[str, int] | Unknown"
    bootstrap: "Bootstrap | Unknown"
    threads: int = 1


class Unit(NamedTuple):
    """A unit as `systemctl show` has it."""

    name: str
    loaded: bool
    active: str  # ActiveState
    sub: str  # SubState
    enabled: str  # UnitFileState
    result: str


@dataclass(frozen=True)
class Facts:
    """All of it.  ``units``: empty where no systemd runs."""

    settings: Settings
    host: Host
    rules: Rules
    docker: "Docker | Unknown"
    dockerd: Dockerd
    shims: tuple[Shim, ...]
    registrar: Registrar
    envoy: Envoy
    units: "Mapping[str, Unit] | Unknown" = field(default_factory=dict)

    @property
    def bindings(self) -> "list[Mapping[str, Any]]":
        """The registrar's bindings (docs/reference.md).  Raises CannotTell."""
        return list(known(self.registrar.status)["bindings"])

    @property
    def envoys(self) -> "list[Mapping[str, Any]]":
        """The connected Envoys that count.  Raises CannotTell."""
        return [envoy for envoy in known(self.registrar.status)["envoys"] if envoy["trusted"]]
