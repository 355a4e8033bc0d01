"""Recording rules: what the alerts and your own dashboards ask for again and again, over five minutes."""

from examples.boards import queries
from examples.boards.queries import Scope

SCOPE = Scope("", "5m", ("instance", "service", "environment"))


def name(figure: str, operation: str = "rate5m") -> str:
    """What a rule's series is called: ``level:metric:operation``, as Prometheus' own pages have it."""
    return f"service:envoy_docker_shim_{figure}:{operation}"


RULES: dict[str, str] = {
    name("http_requests"): queries.requests(SCOPE),
    name("http_errors", "ratio5m"): queries.errors(SCOPE),
    name("http_latency_ms", "p50_5m"): queries.latency(0.5, SCOPE),
    name("http_latency_ms", "p95_5m"): queries.latency(0.95, SCOPE),
    name("http_latency_ms", "p99_5m"): queries.latency(0.99, SCOPE),
    name("connections", "active"): queries.connections(SCOPE),
    name("connections"): queries.new_connections(SCOPE),
    name("bytes_in"): queries.all_bytes("in", SCOPE),
    name("bytes_out"): queries.all_bytes("out", SCOPE),
    name("connect_failures"): queries.connect_failures(SCOPE),
    name("udp_datagrams_in"): queries.udp("datagrams", SCOPE, 'direction="in"'),
    name("udp_datagrams_out"): queries.udp("datagrams", SCOPE, 'direction="out"'),
    name("udp_dropped"): queries.udp("dropped", SCOPE),
    name("udp_errors"): queries.udp("errors", SCOPE),
}
