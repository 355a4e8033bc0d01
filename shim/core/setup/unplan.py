"""What `uninstall` is to do: the reverse of what the record says was done, and nothing else."""

from shim.core.setup import places
from shim.core.setup.facts import Facts
from shim.core.setup.plan import Plan
from shim.core.setup.record import Record
from shim.core.setup.settings import Refused, as_left, restored, switched
from shim.core.setup.steps import AwaitDocker, ClearTable, CompleteDockerRules, Remove, RemoveUser, StopUnits


def uninstall(facts: Facts, record: Record | None, *, restart_docker: bool, purge: bool) -> Plan:
    """The plan: Docker first, while Envoy still serves, then all else.  Raises Refused."""
    if record is None:
        raise Refused(f"nothing was installed by `envoy-docker-shim install`: there is no {places.RECORD}")
    plan = Plan(record)
    _docker(facts, record, plan, restart_docker)
    units = tuple(
        unit for unit in (places.ENVOY, places.REGISTRAR) if f"{places.UNITS}/{unit}" in record.files
    )
    if units:
        plan.steps.append(StopUnits(units))
    plan.steps.append(ClearTable())
    if record.user:
        plan.steps.append(RemoveUser(places.USER))
    kept = record.settings.path + places.KEPT if record.settings else ""
    files = [*record.files, *([kept] if kept in facts.present else [])]
    trees = [places.RUN, places.STATE]
    if purge:
        files.append(places.CONFIG)
        trees.append(places.CACHE)
    else:
        plan.notes.append(f"{places.CONFIG} and {places.CACHE} stay: --purge takes them too")
    directories = [folder for folder in reversed(record.directories) if folder not in trees]
    plan.steps.append(Remove((*files,), tuple(directories), tuple(trees)))
    return plan


def _docker(facts: Facts, record: Record, plan: Plan, restart_docker: bool) -> None:
    docker, known = facts.docker, record.settings
    if f"{places.UNITS}/{places.EGRESS}" in record.files:
        # Docker's own rules come with its restart, and these would shut its ports.
        plan.steps.append(StopUnits((places.EGRESS,)))
    if known is None or not (docker.installed or known.path == docker.settings_path):
        return
    after, others = restored(docker, known)
    for key in others:
        plan.notes.append(f'{known.path} has another "{key}" than ours: it stays')
    changed = after != (docker.settings.content if docker.settings else None)
    # A dockerd that was never restarted for our settings has its own proxies.
    switched_once = docker.process and known.waits != docker.process
    if switched_once and changed and not restart_docker:
        raise Refused("Docker has to be restarted for this: say --restart-docker")
    exact = as_left(docker, known)
    if changed:
        what = "as it was, to the byte" if exact else "ours taken out, what others changed stays"
        if after is None:
            what = "removed, as there was none"
        plan.steps.append(switched(docker, after, what, known, restart=bool(switched_once)))
        if record.forward and switched_once:
            plan.steps.append(CompleteDockerRules(record.forward, docker.networks))
        if switched_once and docker.ports:
            plan.steps.append(AwaitDocker(tuple(docker.ports)))
