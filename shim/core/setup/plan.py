"""What `install` is to do on a host that was found as it is: steps in order, or why it does not begin.

The order is for a host whose containers serve while this runs: everything of ours is there, and an Envoy
connected, before dockerd hears of it.  Run again, it plans only what differs: an upgrade.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

from shim.core.setup import egress, places
from shim.core.setup.daemon_json import PROXY, PROXY_PATH
from shim.core.setup.facts import Envoy, Facts, Port
from shim.core.setup.record import Record, Settings
from shim.core.setup.settings import Refused, digest, merged, switched
from shim.core.setup.steps import (
    AwaitEnvoy,
    AwaitPorts,
    ClearDockerRules,
    Copy,
    MakeUser,
    StartUnits,
    Step,
    SwitchDocker,
    Write,
)


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    restart_docker: bool = False
    strict: bool = False
    envoy_given: bool = False


@dataclass
class Plan:
    """Steps, the record of what there will be, and what is left to do by hand."""

    record: Record
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left: str = ""


def install(facts: Facts, wish: Wish, shipped: Mapping[str, bytes], record: Record | None) -> Plan:
    """The plan.  ``shipped`` are files by the place they have on a host.  Raises Refused."""
    envoy = _checked(facts)
    made = copy.deepcopy(record) or Record(facts.version)
    made.version, made.strict = facts.version, wish.strict
    if wish.strict and (facts.docker.process or places.RULES not in facts.present):
        # Without a dockerd nobody knows its networks, and the rules stay as they are.
        shipped = {**shipped, places.RULES: egress.rules(facts.docker.networks).encode()}
    made.envoy, made.envoy_given = envoy, wish.envoy_given or (record is not None and record.envoy_given)
    plan = Plan(made)
    _put_files(facts, plan, shipped)
    _start(facts, plan)
    _switch(facts, wish, plan, record)
    if wish.strict:
        _own_rules(facts, wish, plan)
    elif facts.docker.user_rules:
        plan.notes.append("rules in DOCKER-USER do not see served ports any more: move them to INPUT")
    if plan.steps and facts.docker.process and not plan.left and facts.docker.ports:
        plan.steps.append(AwaitPorts(_that_stay(facts, plan)))
    if facts.docker.edited and not facts.docker.validates and wish.restart_docker:
        plan.notes.append(
            f"{facts.docker.settings_path} was changed after Docker's start, and this Docker cannot check it:"
            " whether it starts with that, its restart will show"
        )
    if not facts.nft:
        plan.notes.append("there is no nft: until it is installed, clients on the network go past Envoy")
    return plan


def _that_stay(facts: Facts, plan: Plan) -> tuple[Port, ...]:
    """The published ports, but those of containers that do not start again after Docker's restart."""
    stops = {found for step in plan.steps if isinstance(step, SwitchDocker) for found in step.stops}
    gone = {port for found in stops if not found.restarts for port in found.ports}
    return tuple(port for port in facts.docker.ports if port not in gone)


def _checked(facts: Facts) -> str:
    """Where Envoy's unit will find it.  Raises Refused."""
    docker = facts.docker
    if not docker.installed:
        raise Refused("there is no docker.service on this host: install Docker first")
    for unit in facts.foreign:
        raise Refused(f"{unit} is there already and not this project's: rename that unit first")
    for key in (PROXY_PATH, PROXY):
        given = docker.flags.get(key)
        if given is not None and not (key == PROXY and given == "true"):
            raise Refused(
                f"dockerd's command line has --{key}={given} (see `systemctl cat docker`, and DOCKER_OPTS in"
                f" /etc/default/docker): take it out, {docker.settings_path} is the place for it"
            )
    for port in docker.ports:
        if port.proto == "sctp":
            raise Refused(f"container {port.container} publishes {port.port}/sctp, and SCTP is not supported")
    if facts.envoy is None:
        raise Refused("there is no Envoy: say --envoy PATH")
    return facts.envoy.path


def _put_files(facts: Facts, plan: Plan, shipped: Mapping[str, bytes]) -> None:
    assert facts.envoy is not None
    present, record = facts.present, plan.record
    if present.get(places.FILE) != facts.file_digest:
        what = f"this file, version {facts.version}"
        plan.steps.append(Copy(places.FILE, facts.file, what))
    _belongs(record, places.FILE)
    if not facts.user:
        plan.steps.append(MakeUser(places.USER, facts.group))
        record.user = True
    if facts.envoy.copied:
        if present.get(facts.envoy.path) != facts.envoy_digest:
            what = f"Envoy {facts.envoy.version}, a copy of {facts.envoy.source}"
            plan.steps.append(Copy(facts.envoy.path, facts.envoy.source, what))
        _belongs(record, facts.envoy.path)
    for path, content in shipped.items():
        if path == places.CONFIG:
            if path not in present:
                plan.steps.append(Write(path, content, "the configuration, every key as a comment"))
            continue
        if path == places.RULES and path in present and path not in record.files:
            plan.notes.append(f"{path} is there already, and stays as it is")
            continue
        content = _unit(path, content, facts.envoy.path)
        if present.get(path) != digest(content):
            plan.steps.append(Write(path, content, _what(path, facts.envoy) + " anew" * (path in present)))
        _belongs(record, path)


def _what(path: str, envoy: Envoy) -> str:
    if path.endswith(f"/{places.ENVOY}"):
        return f"the unit of {envoy.path}, version {envoy.version}"
    if path == places.RULES:
        return "the rules that take the place of Docker's"
    if path == places.LOGROTATE:
        return "how the access log is rotated"
    return "a unit" if path.endswith(".service") else "a drop-in for Docker's unit"


def _belongs(record: Record, path: str) -> None:
    if path not in record.files:
        record.files.append(path)


def _unit(path: str, content: bytes, envoy: str) -> bytes:
    """Envoy's unit with the place of its program, where systemd would not find it by name."""
    folder, _, name = envoy.rpartition("/")
    if not path.endswith(f"/{places.ENVOY}") or (name == "envoy" and folder in places.UNIT_PATH):
        return content
    return content.replace(b"\nExecStart=envoy ", f"\nExecStart={envoy} ".encode())


def _start(facts: Facts, plan: Plan) -> None:
    """Units run, and run what there is now.  A registrar that is restarted loses nothing; an Envoy does."""
    units = (places.REGISTRAR, places.ENVOY)
    paths = {step.path for step in plan.steps if isinstance(step, (Write, Copy))}
    anew, why = [], ""
    changed = paths & {places.FILE, f"{places.UNITS}/{places.REGISTRAR}"}
    if places.REGISTRAR in facts.active and (changed or facts.stale_registrar):
        anew.append(places.REGISTRAR)
        why = "no request is lost"
    changed = paths & {f"{places.UNITS}/{places.ENVOY}", plan.record.envoy}
    if places.ENVOY in facts.active and (changed or facts.stale_envoy):
        anew.append(places.ENVOY)
        why = "connections through Envoy end, and new ones go Docker's own way until it is back"
    if anew or paths or not (facts.active.issuperset(units) and facts.enabled.issuperset(units)):
        plan.steps += [StartUnits(units, tuple(anew), why), AwaitEnvoy()]


def _own_rules(facts: Facts, wish: Wish, plan: Plan) -> None:
    """Ours in the place of Docker's, when Docker makes none any more: before, they would shut every port."""
    switches = [step for step in plan.steps if isinstance(step, SwitchDocker)]
    if facts.docker.process and (plan.left or (switches and not wish.restart_docker)):
        raise Refused("--strict needs --restart-docker: the rules must not come before Docker's restart")
    if any(step.restart for step in switches):
        plan.steps.append(ClearDockerRules(facts.docker.networks))
    paths = {places.RULES, f"{places.UNITS}/{places.EGRESS}"}
    changed = any(isinstance(step, Write) and step.path in paths for step in plan.steps)
    if changed or places.EGRESS not in facts.active & facts.enabled:
        anew = (places.EGRESS,) if places.EGRESS in facts.active else ()
        plan.steps.append(StartUnits((places.EGRESS,), anew))
    if facts.docker.user_rules:
        plan.notes.append(f"rules in DOCKER-USER go: {'; '.join(facts.docker.user_rules)}")


def _switch(facts: Facts, wish: Wish, plan: Plan, old: Record | None) -> None:
    docker = facts.docker
    known = old.settings if old is not None else None
    found = merged(docker, wish.strict, known)
    changed = docker.settings is None or found.after != docker.settings.content
    waits = known.waits if known is not None else ""
    waits = docker.process if changed or docker.own_proxies else (waits if waits == docker.process else "")
    plan.record.settings = Settings(
        docker.settings_path, digest(found.before), digest(found.after), found.changes, waits
    )
    plan.record.settings.borrowing = known is not None and known.borrowing
    if found.before is not None and changed and found.before != docker.kept:
        kept = docker.settings_path + places.KEPT
        mode = docker.settings.mode if docker.settings else 0o644
        plan.steps.append(Write(kept, found.before, "dockerd's settings without ours", mode))
    if waits and not wish.restart_docker:
        plan.left = "envoy-docker-shim install --restart-docker"
    if changed or (waits and wish.restart_docker):
        what = ", ".join(map(str, found.changes)) if changed else ""
        plan.steps.append(switched(docker, found.after, what, known, restart=wish.restart_docker))
