"""A host with Docker and two published containers, as facts, and what is shipped to it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shim.core.setup import places
from shim.core.setup.facts import Container, DockerFacts, Envoy, Facts, FileState, Port
from shim.core.setup.plan import Plan, Wish, install
from shim.core.setup.record import Record
from shim.core.setup.settings import digest
from shim.core.setup.steps import Copy, MakeUser, StartUnits, SwitchDocker, Write

WEB = Container("web", True, (Port("tcp", "0.0.0.0", 8080, "web"), Port("tcp", "::", 8080, "web")))
JOB = Container("job", False)
SHIPPED = {
    f"{places.UNITS}/{places.REGISTRAR}": b"[Service]\nExecStart=/usr/local/bin/envoy-docker-shim server\n",
    f"{places.UNITS}/{places.ENVOY}": b"[Service]\nExecStart=envoy -c x\n",
    places.CONFIG: b"# all\n",
}
GIVEN = Envoy("/root/envoy", places.ENVOY_COPY, "1.40.0")
SETTINGS = FileState(b'{"debug": true}', 0o600)


def docker(**changes: Any) -> DockerFacts:
    """A dockerd that runs, with its own proxies."""
    facts = DockerFacts(
        process="boot/1/2", version="28.5.2", containers=(WEB, JOB), settings=SETTINGS, own_proxies=True
    )
    return replace(facts, **changes)


def host(**changes: Any) -> Facts:
    """A stock one."""
    facts = Facts("0.1.0", "/root/eds", "file 1", docker(), GIVEN, envoy_digest="envoy 1")
    return replace(facts, **changes)


def planned(
    facts: Facts, record: Record | None = None, *, shipped: Mapping[str, bytes] = SHIPPED, **wish: Any
) -> Plan:
    """What `install` would do."""
    return install(facts, Wish(**{"restart_docker": True, **wish}), shipped, record)


def after(facts: Facts, plan: Plan) -> tuple[Facts, Record]:
    """The host when the plan has been carried out."""
    present, found, record = dict(facts.present), facts.docker, plan.record
    for step in plan.steps:
        match step:
            case Write(path, content):
                present[path] = digest(content)
                if path.endswith(places.KEPT):
                    found = replace(found, kept=content)
            case Copy(path):
                present[path] = facts.file_digest if path == places.FILE else facts.envoy_digest
            case MakeUser():
                facts = replace(facts, user=True, group=True)
            case StartUnits(units):
                facts = replace(facts, active=facts.active | {*units}, enabled=facts.enabled | {*units})
            case SwitchDocker() if step.after is None:
                found = replace(found, settings=None)
            case SwitchDocker():
                mode = found.settings.mode if found.settings else step.mode
                found = replace(found, settings=FileState(step.after or b"", mode))
                if step.restart:
                    found = replace(found, process=found.process + "+", own_proxies=False)
                    assert record.settings is not None
                    record.settings.waits = ""
            case _:
                pass
    return replace(facts, present=present, docker=found), record
