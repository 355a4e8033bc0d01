"""What a panel of the dashboard is, and how those of services and of hosts ask."""

from typing import Any, NamedTuple

from examples.boards.queries import Scope

# What is chosen at the dashboard's top, and the range that Grafana finds fit for the time that is shown.
HOST = 'instance=~"$instance"'
SCOPE = Scope(
    f'{HOST},environment=~"$environment",service=~"$service"', "$__rate_interval", ("service", "environment")
)
ALL = SCOPE._replace(by=())
WINDOW = SCOPE.window
SERVICE = "{{service}} {{environment}}"

STAT, GRAPH, TABLE = "stat", "timeseries", "table"
# Grafana's words for units.
PER_SECOND, REQUESTS, BYTES_PER_SECOND, PACKETS = "cps", "reqps", "Bps", "pps"
SHARE, MILLISECONDS, SECONDS, BYTES, NUMBER = "percentunit", "ms", "s", "bytes", "short"


class Query(NamedTuple):
    """``legend``: a template of Grafana's with the answer's labels; in a table the name of its column.

    ``unit`` is for a table's column only.
    """

    expr: str
    legend: str = ""
    unit: str = ""


class Panel(NamedTuple):
    """``width`` is in columns, of which there are 24.  From ``bad``, or below ``bad_below``, it is red."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str = ""
    kind: str = GRAPH
    width: int = 8
    stacked: bool = False
    bad: float | None = None
    bad_below: float | None = None


def by_service(title: str, unit: str, expr: str, description: str = "", **more: Any) -> Panel:
    """A line for each service."""
    return Panel(title, unit, (Query(expr, SERVICE),), description)._replace(**more)


def stat(title: str, unit: str, expr: str, description: str = "", **more: Any) -> Panel:
    """One number."""
    return Panel(title, unit, (Query(expr),), description, STAT, 3)._replace(**more)


def of_host(name: str, *matchers: str) -> str:
    """A series of the chosen hosts."""
    return f"{name}{{{','.join((HOST, *matchers))}}}"


def host_rate(name: str, *by: str) -> str:
    """How fast such a counter grows, per second."""
    return f"sum by ({', '.join(by)}) (rate({of_host(name)}[{WINDOW}]))"


def of_process(name: str) -> str:
    """A figure of the registrar's process: other targets have series of that name."""
    return f"{name}\nand on (instance, job) {of_host('envoy_docker_shim_build_info')}"
