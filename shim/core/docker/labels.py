"""The labels a container may have: a row each, and what follows from them.

To add a label is to add a row: with the field of Service that takes its text, or with a function that changes
how ports are served (words.py).  Each may be about one port: ``ProxyMode.5432``, ``ProxyMode.5432/tcp``.
Whatever the labels hold, the result can be used as it is: nothing here raises.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from shim.core.docker import words
from shim.core.docker.containers import Container, Port, labels_of, name_of, ports_of
from shim.core.docker.orchestrators import names_of
from shim.core.envoy.modes import Serving, mode_names
from shim.core.service import Service
from shim.core.text import printable

# Of a container's problems so many are told; of each thing in them so many characters.
PROBLEMS, SHOWN = 3, 60


class Label(NamedTuple):
    """One row, for the documentation too.  ``field`` or ``serve``, never both."""

    name: str
    meaning: str
    default: str  # what holds without it, in words
    applied: Callable[[Service, Serving], str]  # its value as it is in force, for `status`
    field: str = ""  # of Service, which takes its text
    serve: words.Serve | None = None  # how a TCP port is served by its word


SERVICE_NAME = Label(
    "ServiceName",
    "the name in traces, metrics and `status`",
    "what [Compose, Swarm, ECS or Nomad](#swarm-ecs-nomad) calls it, else the container's name",
    lambda service, _: service.name,
    field="name",
)
ENVIRONMENT_NAME = Label(
    "EnvironmentName",
    "`production`, a customer, ...",
    "what they call it, if the name is theirs, else empty",
    lambda service, _: service.environment,
    field="environment",
)
LABELS = (
    SERVICE_NAME,
    ENVIRONMENT_NAME,
    Label(
        "ProxyMode",
        mode_names("`"),
        "`default_mode`",
        lambda _, serving: serving.mode.name,
        serve=words.proxy_mode,
    ),
    Label(
        "ClientAddress",
        "`keep`: the container [sees the address](networking.md#the-clients-own-address) of clients on the"
        " network; `proxy-protocol` or `proxy-protocol-v2`: it is"
        " [told the address](networking.md#proxy-protocol) of every client; `off`",
        "`client_address`",
        lambda _, serving: words.client_address_of(serving),
        serve=words.client_address,
    ),
    Label(
        "AccessLog",
        "`on`: a line in the [access log](metrics-and-tracing.md#access-log) for each request, in tcp mode"
        " for each connection; `tls`: on, with [the names in TLS handshakes](metrics-and-tracing.md#tls)"
        " whatever the port; `off`",
        "`off`, and with `access_log` set `on`",
        lambda _, serving: serving.access_log,
        serve=words.access_log,
    ),
    Label(
        "Tracing",
        "`off`: no spans; `on`",
        "`on`, if there is a [collector](metrics-and-tracing.md#tracing)",
        lambda _, serving: words.ON if serving.extras.tracing else words.OFF,
        serve=words.tracing,
    ),
    Label(
        "Sampling",
        "the percentage of requests that are traced, such as `1` or `0.5`",
        "the configuration's",
        lambda _, serving: words.sampling_of(serving),
        serve=words.sampling,
    ),
    Label(
        "IdleTimeout",
        "a [time](#timeouts) after which a silent connection is closed, and a request without a byte ends",
        "`off`: never",
        lambda _, serving: words.timeout_of(serving.extras.idle_timeout),
        serve=words.idle_timeout,
    ),
    Label(
        "RequestTimeout",
        "a [time](#timeouts) in which an answer has to be complete, else the client gets 504",
        "`off`: never",
        lambda _, serving: words.timeout_of(serving.extras.request_timeout),
        serve=words.request_timeout,
    ),
)
_BY_NAME = {label.name: label for label in LABELS}
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp))?")


def said_of(
    container: Container, default: Serving, ports: Iterable[Port]
) -> dict[Port, tuple[Service, Serving]]:
    """What a container's labels say of each of these ports; ``default``: where they do not say it."""
    labels = labels_of(container)
    if not any(_is_for_a_port(name) for name in labels):
        return dict.fromkeys(ports, (service_of(container), serving_of(container, default)))
    misplaced = list(_misplaced(labels, container))
    return {
        port: (service_of(container, port), _serving(labels, default, port, misplaced)) for port in set(ports)
    }


def service_of(container: Container, port: Port | None = None) -> Service:
    """Who a container is: what its labels say, and what Docker calls it where they do not name it.

    ``port``: for that port of it, which may have labels of its own.
    """
    labels = labels_of(container)
    container_name, identity = printable(name_of(container)), printable(str(container.get("Id") or "")[:12])
    told = {label.field: printable(_own(labels, label, port)[1]) for label in LABELS if label.field}
    names = names_of(labels, container_name)
    if not told["name"]:
        told = {**names._asdict(), **{field: text for field, text in told.items() if text}}
    else:
        told = {**names._replace(environment="")._asdict(), **told}
    told["name"] = told["name"] or container_name or identity or "unknown"
    image = printable(str(container.get("Image") or ""))
    return Service(
        **told, container=container_name, image=image, container_id=identity, version=version_of(image)
    )


def version_of(image: str) -> str:
    """An image's tag; empty where it is named by its content alone, or by nothing."""
    name = image.partition("@")[0]
    return "" if name.startswith("sha256:") else printable(name.rpartition("/")[2].partition(":")[2])


def serving_of(container: Container, default: Serving, port: Port | None = None) -> Serving:
    """How a container's TCP ports are served, or one of them; ``default``: where its labels do not say it."""
    labels = labels_of(container)
    return _serving(labels, default, port, _misplaced(labels, container))


def _serving(
    labels: Mapping[str, str], default: Serving, port: Port | None, misplaced: Iterable[str]
) -> Serving:
    serving, problems = default, []
    for label in LABELS:
        if label.serve is None:
            continue
        name, text = _own(labels, label, port)
        if word := text.strip().lower():
            serving, wrong = label.serve(serving, word)
            if wrong:
                problems.append(f"{_shown(name, text)} {wrong}")
    problems += misplaced
    more = f"; and {len(problems) - PROBLEMS} more" if len(problems) > PROBLEMS else ""
    problem = "; ".join(problems[:PROBLEMS]) + more
    serving = serving._replace(problem=problem)
    return serving if problem else _kept(serving)


@lru_cache(maxsize=256)
def _kept(serving: Serving) -> Serving:
    """One object for all that are equal: ten thousand ports are served in a few ways."""
    return serving


def _own(labels: Mapping[str, str], label: Label, port: Port | None) -> tuple[str, str]:
    """The name and the text of the label that says it: the port's own, else the container's."""
    if port is not None:
        for name in (f"{label.name}.{port}", f"{label.name}.{port.number}"):
            if printable(labels.get(name, "")):
                return name, labels[name]
    return label.name, labels.get(label.name, "")


def _is_for_a_port(name: str) -> bool:
    label, dot, _ = name.partition(".")
    return bool(dot) and label in _BY_NAME


def _misplaced(labels: Mapping[str, str], container: Container) -> Iterator[str]:
    """What is wrong with labels that are for a port."""
    every = ports_of(container)
    tcp = {port for port in every if port.proto == "tcp"}
    for name in sorted(filter(_is_for_a_port, labels)):
        label, text = _BY_NAME[name.partition(".")[0]], labels[name]
        if not text.strip():
            continue
        port = _PORT.fullmatch(name.partition(".")[2])
        if port is None:
            yield f"{_shown(name, text)} names no port: write {label.name}.80 or {label.name}.80/tcp"
            continue
        published = tcp if label.serve else every
        wanted = {Port(int(port[1]), proto) for proto in ([port[2]] if port[2] else ("tcp", "udp"))}
        if published.isdisjoint(wanted):
            kind = "TCP port" if label.serve else "port"
            there = ", ".join(map(str, sorted(published)[:4])) or "none"
            more = ", ..." if len(published) > 4 else ""
            yield (
                f"{_shown(name, text)} is for no published {kind} of the container (there: {there}{more};"
                " not the host's)"
            )


def _shown(name: str, text: str) -> str:
    return f"label {printable(name, SHOWN)}={printable(text, SHOWN)!r}"


def describe(service: Service, serving: Serving) -> str:
    """One line for the log."""
    environment = f" ({service.environment})" if service.environment else ""
    mode = f"{serving.mode.name} ({serving.chosen_by})"
    return f"{service.name}{environment}, {mode}, container {service.container or 'unknown'}"
