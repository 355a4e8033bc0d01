"""The labels a container may have: a row each, and what follows from them.

Whatever the labels hold, the result can be used as it is: nothing here raises.
"""

from collections.abc import Callable
from typing import NamedTuple

from shim.core.docker.containers import Container, labels_of, name_of
from shim.core.envoy.modes import FALLBACK_MODE, MODES, Mode, Serving, mode_names
from shim.core.service import Service
from shim.core.text import printable


class Label(NamedTuple):
    """One row, for the documentation too."""

    name: str
    meaning: str
    default: str  # what holds without it, in words
    applied: Callable[[Service, Serving], str]  # its value as it is in force, for `status`


SERVICE_NAME = Label(
    "ServiceName",
    "the name in traces, metrics and `status`",
    "the Compose service, else the container's name",
    lambda service, _: service.name,
)
ENVIRONMENT_NAME = Label(
    "EnvironmentName",
    "`production`, a customer, ...",
    "the Compose project if the name is Compose's, else empty",
    lambda service, _: service.environment,
)
PROXY_MODE = Label(
    "ProxyMode",
    f"{' or '.join(f'`{mode}`' for mode in MODES)}, for all TCP ports of the container",
    "`default_mode`",
    lambda _, serving: serving.mode.name,
)
LABELS = (SERVICE_NAME, ENVIRONMENT_NAME, PROXY_MODE)

# Compose's own labels.
COMPOSE_SERVICE, COMPOSE_PROJECT = "com.docker.compose.service", "com.docker.compose.project"


def service_of(container: Container) -> Service:
    """Who a container is.

    ServiceName, else the Compose service (with the project as environment), else the container's name.
    """
    labels = labels_of(container)
    name = name_of(container)
    identity = str(container.get("Id") or "")
    environment = labels.get(ENVIRONMENT_NAME.name, "")
    service = printable(labels.get(SERVICE_NAME.name, ""))
    if not service:
        service = printable(labels.get(COMPOSE_SERVICE, ""))
        if service and not environment:
            environment = labels.get(COMPOSE_PROJECT, "")
    return Service(
        name=service or printable(name) or printable(identity[:12]) or "unknown",
        environment=printable(environment),
        container=printable(name),
        image=printable(str(container.get("Image") or "")),
        container_id=printable(identity[:12]),
    )


def serving_of(container: Container, default: Mode) -> Serving:
    """How a container's TCP ports are served."""
    label = labels_of(container).get(PROXY_MODE.name, "")
    wanted = label.strip().lower()
    if not wanted:
        return Serving(default)
    if wanted in MODES:
        return Serving(MODES[wanted])
    wrong = f"label {PROXY_MODE.name}={printable(label)!r}"
    neither = f"is {'neither' if len(MODES) == 2 else 'none of'} {mode_names('nor')}"
    return Serving(FALLBACK_MODE, f"{wrong} {neither}: served as {FALLBACK_MODE.name}")


def describe(service: Service, serving: Serving) -> str:
    """One line for the log."""
    environment = f" ({service.environment})" if service.environment else ""
    return f"{service.name}{environment}, {serving.mode.name}, container {service.container or 'unknown'}"
