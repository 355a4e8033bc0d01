"""What the host was found to have, before anything is done; plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shim.core.setup.egress import Network


class FileState(NamedTuple):
    """A file's content, permission bits, and owner."""

    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class Port(NamedTuple):
    """A published port: protocol, host address, and the container's name."""

    proto: str
    ip: str
    port: int
    container: str

    def __str__(self) -> str:
        return f"{self.port}/{self.proto} ({self.container})"


class Container(NamedTuple):
    """A running container, and whether Docker starts it again after it has stopped it."""

    name: str
    restarts: bool
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class DockerFacts:
    """dockerd as it runs, or would run.

    ``flags`` are those of its command line, without dashes; a switch has the value "true".  ``process`` names
    the running dockerd among all of this host's, and is empty where none runs.
    """

    installed: bool = True
    process: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    live_restore: bool = False
    swarm: bool = False
    containers: tuple[Container, ...] = ()
    networks: tuple[Network, ...] = ()
    user_rules: tuple[str, ...] = ()  # in the chain DOCKER-USER
    settings_path: str = "/etc/docker/daemon.json"
    settings: FileState | None = None
    kept: bytes | None = None  # the copy of the settings that an earlier installation has made
    own_proxies: bool = False  # processes of docker-proxy run
    edited: bool = False  # the settings have changed since dockerd started

    @property
    def ports(self) -> list[Port]:
        """All that are published."""
        return [port for container in self.containers for port in container.ports]

    @property
    def validates(self) -> bool:
        """Whether dockerd can check a settings file: since Engine 23."""
        first = self.version.split(".")[0]
        return first.isdecimal() and int(first) >= 23


@dataclass(frozen=True)
class Envoy:
    """The Envoy to be used: where it is now, where its unit is to find it, and what it says it is."""

    source: str
    path: str
    version: str

    @property
    def copied(self) -> bool:
        """Whether it has to be put there first."""
        return self.source != self.path


@dataclass(frozen=True)
class Facts:
    """All of it.

    ``present`` has the digest of each file of interest that exists.
    """

    version: str
    file: str  # the one that runs now
    file_digest: str
    docker: DockerFacts
    envoy: Envoy | None
    envoy_digest: str = ""
    user: bool = False
    group: bool = False
    nft: bool = True
    present: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()  # units of these names that are somebody else's
    active: frozenset[str] = frozenset()  # our units that run
    enabled: frozenset[str] = frozenset()
    stale_registrar: bool = False  # its file or the configuration has changed since it started
    stale_envoy: bool = False  # the Envoy that runs was started from another configuration than there is now
