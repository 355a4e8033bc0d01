"""The labels a container may have: a row each, and what follows from them.

To add a label is to add a row, and the field of Service that takes its text.  Whatever the labels hold, the
result can be used as it is: nothing here raises.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from shim.core.docker.containers import Container, labels_of, name_of
from shim.core.envoy.modes import BY_LABEL, FALLBACK_MODE, MODES, Serving, mode_names, none_of_the_modes
from shim.core.service import Service
from shim.core.text import printable

# Compose's own labels.
COMPOSE_SERVICE, COMPOSE_PROJECT = "com.docker.compose.service", "com.docker.compose.project"

Labels = Mapping[str, str]  # all of a container's


class Label(NamedTuple):
    """One row, for the documentation too."""

    name: str
    meaning: str
    default: str  # what holds without it, in words
    field: str  # of Service, which takes its text; empty: it is about how ports are served
    read: Callable[[Labels], str]  # its text, or what Compose's labels say in its place; empty: nothing
    applied: Callable[[Service, Serving], str]  # its value as it is in force, for `status`


def _of_service(
    name: str, meaning: str, default: str, field: str, read: Callable[[Labels], str] | None = None
) -> Label:
    """A row whose text is a field of Service; without ``read`` it is the label's own text."""
    return Label(
        name,
        meaning,
        default,
        field,
        read or (lambda labels: printable(labels.get(name, ""))),
        lambda service, _: str(getattr(service, field)),
    )


def _service_name(labels: Labels) -> str:
    return printable(labels.get(SERVICE_NAME.name, "")) or printable(labels.get(COMPOSE_SERVICE, ""))


def _environment_name(labels: Labels) -> str:
    own = labels.get(ENVIRONMENT_NAME.name, "")
    compose_named_it = printable(labels.get(COMPOSE_SERVICE, "")) and not printable(
        labels.get(SERVICE_NAME.name, "")
    )
    return printable(labels.get(COMPOSE_PROJECT, "") if compose_named_it and not own else own)


def _proxy_mode(labels: Labels) -> str:
    return labels.get(PROXY_MODE.name, "")


def _client_address(labels: Labels) -> str:
    return labels.get(CLIENT_ADDRESS.name, "")


SERVICE_NAME = _of_service(
    "ServiceName",
    "the name in traces, metrics and `status`",
    "the Compose service, else the container's name",
    "name",
    _service_name,
)
ENVIRONMENT_NAME = _of_service(
    "EnvironmentName",
    "`production`, a customer, ...",
    "the Compose project if the name is Compose's, else empty",
    "environment",
    _environment_name,
)
PROXY_MODE = Label(
    "ProxyMode",
    f"{mode_names('`')}, for all TCP ports of the container",
    "`default_mode`",
    "",
    _proxy_mode,
    lambda _, serving: serving.mode.name,
)
KEEP, OFF = "keep", "off"
CLIENT_ADDRESS = Label(
    "ClientAddress",
    f"`{KEEP}`: the container [sees the address](networking.md#the-clients-own-address) of clients on the"
    f" network; `{OFF}`",
    "`client_address`",
    "",
    _client_address,
    lambda _, serving: KEEP if serving.keeps_client else OFF,
)
LABELS = (SERVICE_NAME, ENVIRONMENT_NAME, PROXY_MODE, CLIENT_ADDRESS)


def service_of(container: Container) -> Service:
    """Who a container is: what its labels say, and what Docker calls it where they do not name it."""
    labels = labels_of(container)
    name, identity = printable(name_of(container)), printable(str(container.get("Id") or "")[:12])
    told = {label.field: label.read(labels) for label in LABELS if label.field}
    told["name"] = told["name"] or name or identity or "unknown"
    image = printable(str(container.get("Image") or ""))
    return Service(**told, container=name, image=image, container_id=identity)


def serving_of(container: Container, default: Serving) -> Serving:
    """How a container's TCP ports are served; ``default``: where its labels do not say it."""
    labels = labels_of(container)
    mode, chosen_by, problem = default.mode, default.chosen_by, ""
    if wanted := _word(labels, PROXY_MODE):
        mode, chosen_by = MODES.get(wanted, FALLBACK_MODE), BY_LABEL
        if wanted not in MODES:
            problem = f"{_wrong(labels, PROXY_MODE)} {none_of_the_modes()}: served as {mode.name}"
    keeps = default.keeps_client
    if wanted := _word(labels, CLIENT_ADDRESS):
        keeps = wanted == KEEP
        if wanted not in (KEEP, OFF):
            wrong = f"{_wrong(labels, CLIENT_ADDRESS)} neither {KEEP} nor {OFF}: {OFF}"
            problem = f"{problem}; {wrong}" if problem else wrong
    return default._replace(mode=mode, problem=problem, keeps_client=keeps, chosen_by=chosen_by)


def _word(labels: Labels, label: Label) -> str:
    return label.read(labels).strip().lower()


def _wrong(labels: Labels, label: Label) -> str:
    return f"label {label.name}={printable(label.read(labels))!r} is"


def describe(service: Service, serving: Serving) -> str:
    """One line for the log."""
    environment = f" ({service.environment})" if service.environment else ""
    mode = f"{serving.mode.name} ({serving.chosen_by})"
    return f"{service.name}{environment}, {mode}, container {service.container or 'unknown'}"
