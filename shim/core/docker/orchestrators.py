"""What programs that start containers call them, by the labels that they give: a row each.

The same service has the same name on every host, and after every deployment.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from shim.core.text import printable

Labels = Mapping[str, str]  # all of a container's

COMPOSE = "com.docker.compose."
SWARM = "com.docker.swarm."
STACK = "com.docker.stack.namespace"
# Amazon's agent gives all of its own; Nomad's driver `alloc_id` always, the others where `extra_labels` asks.
ECS = "com.amazonaws.ecs."
NOMAD = "com.hashicorp.nomad."


class Names(NamedTuple):
    """What an orchestrator says of a container, by fields of Service; no ``name``: it is none of its."""

    name: str = ""
    environment: str = ""
    namespace: str = ""
    swarm_node: str = ""
    swarm_task: str = ""
    ecs_task: str = ""


def _compose(labels: Labels, container: str) -> Names:
    return Names(labels.get(f"{COMPOSE}service", ""), labels.get(f"{COMPOSE}project", ""))


def _swarm(labels: Labels, container: str) -> Names:
    """A stack's service is called STACK_SERVICE by Swarm, and SERVICE in the file: as Compose has it."""
    stack = labels.get(STACK, "")
    return Names(
        labels.get(f"{SWARM}service.name", "").removeprefix(f"{stack}_"),
        stack,
        swarm_node=labels.get(f"{SWARM}node.id", ""),
        swarm_task=labels.get(f"{SWARM}task.name", ""),
    )


def _ecs(labels: Labels, container: str) -> Names:
    return Names(
        labels.get(f"{ECS}container-name", ""),
        labels.get(f"{ECS}task-definition-family", ""),
        ecs_task=labels.get(f"{ECS}task-arn", ""),
    )


def _nomad(labels: Labels, container: str) -> Names:
    """Its driver calls a container TASK-ALLOCATION, so the task is known without `extra_labels` too."""
    task, allocation = labels.get(f"{NOMAD}task_name", ""), labels.get(f"{NOMAD}alloc_id", "")
    if not task and allocation and container.endswith(f"-{allocation}"):
        task = container.removesuffix(f"-{allocation}")
    return Names(task, labels.get(f"{NOMAD}job_name", ""), labels.get(f"{NOMAD}namespace", ""))


class Orchestrator(NamedTuple):
    """One row, for the documentation too: what each calls the service, and its environment."""

    name: str
    service: str
    environment: str
    names: Callable[[Labels, str], Names]  # (labels, container's name) -> what it calls it


# The first that names a container counts.
ORCHESTRATORS = (
    Orchestrator("Compose", "the service", "the project", _compose),
    Orchestrator("Swarm", "the service, without its stack", "the stack", _swarm),
    Orchestrator("Amazon ECS", "the container's name in the task", "the task's family", _ecs),
    Orchestrator("Nomad", "the task", "the job, if the driver's `extra_labels` tell it", _nomad),
)


def names_of(labels: Labels, container: str) -> Names:
    """What the first orchestrator that knows this container calls it, each text clean."""
    for orchestrator in ORCHESTRATORS:
        names = Names(*map(printable, orchestrator.names(labels, container)))
        if names.name:
            return names
    return Names()
