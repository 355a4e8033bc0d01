"""The steps that a plan is made of: each says what it will do, in one line."""

from dataclasses import dataclass, field

from shim.core.setup.egress import Network
from shim.core.setup.facts import Container, Port


@dataclass(frozen=True)
class Write:
    """A file gets this content, by rename."""

    path: str
    content: bytes = field(repr=False)
    what: str
    mode: int = 0o644

    def __str__(self) -> str:
        return f"write {self.path}: {self.what}"


@dataclass(frozen=True)
class Copy:
    """A file becomes a copy of another, by rename: who runs the old one goes on running it."""

    path: str
    source: str
    what: str
    mode: int = 0o755

    def __str__(self) -> str:
        return f"write {self.path}: {self.what}"


@dataclass(frozen=True)
class MakeUser:
    """A system user, in a group of its own name."""

    name: str
    group_exists: bool

    def __str__(self) -> str:
        return f"make the system user {self.name}"


@dataclass(frozen=True)
class StartUnits:
    """Units that are to run, now and at every boot; `restarted` of them are started anew if they run."""

    units: tuple[str, ...]
    restarted: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        started = [unit for unit in self.units if unit not in self.restarted]
        parts = [f"enable and start {' and '.join(started)}"] if started else []
        parts += [f"restart {' and '.join(self.restarted)}"] if self.restarted else []
        return ", ".join(parts) + (f": {self.why}" if self.why else "")


@dataclass(frozen=True)
class AwaitEnvoy:
    """Nothing of Docker is touched before an Envoy is there."""

    def __str__(self) -> str:
        return "wait until Envoy is connected; Docker is not touched before"


@dataclass(frozen=True)
class SwitchDocker:
    """dockerd's settings file becomes `after` (None: no file), and dockerd is restarted for it.

    ``borrow``: live-restore is switched on for the restart only, and containers live through it.
    """

    path: str
    after: bytes | None = field(repr=False)
    what: str
    restart: bool
    borrow: bool
    validate: bool
    stops: tuple[Container, ...] = ()
    mode: int = 0o644

    def __str__(self) -> str:
        parts = [f"change {self.path}: {self.what}"] if self.what else []
        parts += [self._restarts()] if self.restart else []
        return "; ".join(parts)

    def _restarts(self) -> str:
        if not self.stops:
            how = ", with live-restore on for that moment" if self.borrow else ""
            return f"restart Docker{how}: no container stops"
        again = [container.name for container in self.stops if container.restarts]
        not_again = [container.name for container in self.stops if not container.restarts]
        parts = [f"{', '.join(again)} stop and start again"] if again else []
        parts += [f"{', '.join(not_again)} stop and STAY STOPPED (no restart policy)"] if not_again else []
        return f"restart Docker: {'; '.join(parts)}"


@dataclass(frozen=True)
class AwaitPorts:
    """Every published port is served by Envoy."""

    ports: tuple[Port, ...]

    def __str__(self) -> str:
        return (
            f"wait until served: {', '.join(sorted({str(port) for port in self.ports}))}; else undo all this"
        )


@dataclass(frozen=True)
class AwaitDocker:
    """Every published port is Docker's own again."""

    ports: tuple[Port, ...]

    def __str__(self) -> str:
        return f"wait until Docker serves: {', '.join(sorted({str(port) for port in self.ports}))}"


@dataclass(frozen=True)
class StopUnits:
    """Units that run no more, now and at every boot."""

    units: tuple[str, ...]

    def __str__(self) -> str:
        return f"stop and disable {' and '.join(self.units)}"


@dataclass(frozen=True)
class ClearTable:
    """The registrar's rules go out of the kernel."""

    def __str__(self) -> str:
        return "take the firewall table envoy_docker_shim out of the kernel"


@dataclass(frozen=True)
class ClearDockerRules:
    """What a Docker without firewall rules leaves of them in the kernel goes."""

    networks: tuple[Network, ...]

    def __str__(self) -> str:
        return "take Docker's own firewall rules out of the kernel, IPv4 and IPv6"


@dataclass(frozen=True)
class CompleteDockerRules:
    """What Docker does not make anew where containers live through its start; policies by "4" or "6"."""

    policies: dict[str, str]
    networks: tuple[Network, ...]

    def __str__(self) -> str:
        policies = ", ".join(f"IPv{family} {policy}" for family, policy in self.policies.items())
        return f"put back masquerading, and the policy of FORWARD: {policies}"


@dataclass(frozen=True)
class Remove:
    """Files that are there no more; directories only where they are empty, but trees as they are."""

    files: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"remove {', '.join((*self.files, *self.directories, *self.trees))}"


@dataclass(frozen=True)
class RemoveUser:
    """The user that was made, with its group."""

    name: str

    def __str__(self) -> str:
        return f"remove the system user {self.name}"


Step = (
    Write | Copy | MakeUser | StartUnits | AwaitEnvoy | SwitchDocker | AwaitPorts
    | AwaitDocker | ClearDockerRules | CompleteDockerRules | StopUnits | ClearTable | Remove | RemoveUser
)  # fmt: skip
