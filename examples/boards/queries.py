"""Questions to Prometheus about services, in PromQL.

Envoy's series know the cluster only, by a label that differs from kind to kind.  Whose it is comes from
the registrar's ``envoy_docker_shim_service_info``: both are scraped from one address, so ``instance`` is the
same.
"""

from typing import NamedTuple

INFO = "envoy_docker_shim_service_info"
# The label in which Envoy has the cluster's name: http mode, tcp mode, listeners, and towards the container.
HTTP, TCP = "envoy_http_conn_manager_prefix", "envoy_tcp_prefix"
LISTENER, CLUSTER = "envoy_listener_address", "envoy_cluster_name"
# For so long a cluster's name is known when the registrar is away, or the cluster gone.
REMEMBERED = "10m"


class Scope(NamedTuple):
    """``services``: matchers of the labels instance, service and environment; ``window``: a range in PromQL;
    ``by``: the labels of an answer."""

    services: str
    window: str
    by: tuple[str, ...]

    def selected(self, *matchers: str) -> str:
        """Its matchers and these, in braces; nothing where there are none."""
        found = ",".join(filter(None, (self.services, *matchers)))
        return f"{{{found}}}" if found else ""


def named(series: str, label: str, scope: Scope) -> str:
    """``series``, whose ``label`` has a cluster's name, with its service and environment.

    Those of no service are left out.  A name may have been another service's some minutes ago: of two, one is
    taken, where Prometheus would answer nothing at all.
    """
    return (
        f"{series}\n"
        f"* on (instance, {label}) group_left (service, environment)\n"
        f"topk by (instance, {label}) (1, label_replace(\n"
        f"  last_over_time({INFO}{scope.selected()}[{REMEMBERED}]),\n"
        f'  "{label}", "$1", "cluster", "(.*)"\n'
        f"))"
    )


def summed(series: str, scope: Scope, *also: str) -> str:
    """The sum for each service, and for each value of the labels ``also``."""
    inner = "\n".join(f"  {line}" for line in series.splitlines())
    return f"sum by ({', '.join((*also, *scope.by))}) (\n{inner}\n)"


def gauge(name: str, label: str, scope: Scope) -> str:
    """The sum of one of Envoy's gauges."""
    return summed(named(name, label, scope), scope)


def rate(name: str, label: str, scope: Scope, matchers: str = "", *also: str) -> str:
    """How fast one of Envoy's counters grows, per second."""
    return summed(named(f"rate({name}{matchers}[{scope.window}])", label, scope), scope, *also)


def requests(scope: Scope) -> str:
    """HTTP requests per second."""
    return rate("envoy_http_downstream_rq_total", HTTP, scope)


def errors(scope: Scope) -> str:
    """The share of answers from 500 on, 0 to 1; none where there are no answers.

    Envoy tells of a class of answers from the first one on: until then there is no such series.
    """
    answers = rate("envoy_http_downstream_rq_xx", HTTP, scope)
    failed = rate("envoy_http_downstream_rq_xx", HTTP, scope, '{envoy_response_code_class="5"}')
    return f"(\n{failed}\nor\n0 * {answers}\n)\n/\n{answers}"


def success(scope: Scope) -> str:
    """The share of all other answers."""
    return f"1 - {errors(scope)}"


def latency(
    quantile: float, scope: Scope, name: str = "envoy_http_downstream_rq_time", label: str = HTTP
) -> str:
    """How long the slowest of so many requests took, in milliseconds."""
    return f"histogram_quantile({quantile}, {rate(f'{name}_bucket', label, scope, '', 'le')})"


def connections(scope: Scope) -> str:
    """Open connections of clients, whatever they speak."""
    return gauge("envoy_listener_downstream_cx_active", LISTENER, scope)


def new_connections(scope: Scope) -> str:
    """Connections of clients per second, whatever they speak."""
    return rate("envoy_listener_downstream_cx_total", LISTENER, scope)


def connect_failures(scope: Scope) -> str:
    """Attempts per second to connect to a container that failed."""
    return rate("envoy_cluster_upstream_cx_connect_fail", CLUSTER, scope)


def udp(name: str, scope: Scope, *matchers: str) -> str:
    """A counter of UDP relays, per second."""
    return summed(
        f"rate(envoy_docker_shim_udp_{name}_total{scope.selected(*matchers)}[{scope.window}])", scope
    )


def all_bytes(direction: str, scope: Scope) -> str:
    """Bytes per second of HTTP, TCP and UDP together: from clients (``in``) or to them (``out``)."""
    kind = {"in": "rx", "out": "tx"}[direction]
    series = [
        named(f"rate(envoy_{root}_downstream_cx_{kind}_bytes_total[{scope.window}])", label, scope)
        for root, label in (("http", HTTP), ("tcp", TCP))
    ]
    matcher = f'direction="{direction}"'
    series.append(f"rate(envoy_docker_shim_udp_bytes_total{scope.selected(matcher)}[{scope.window}])")
    return summed("\nor\n".join(series), scope)
