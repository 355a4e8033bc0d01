"""What the dashboard shows of services: a glance, a table, and HTTP, TCP and UDP."""

from examples.boards import alerts, queries
from examples.boards.panel import (
    ALL,
    BYTES_PER_SECOND,
    HOST,
    MILLISECONDS,
    NUMBER,
    PACKETS,
    PER_SECOND,
    REQUESTS,
    SCOPE,
    SHARE,
    TABLE,
    Panel,
    Query,
    by_service,
    of_host,
    stat,
)
from examples.boards.queries import HTTP, INFO

NOT_SERVED = 'state=~"pending|published|rejected"'
# UDP has no cluster, and so no INFO.
KNOWN = f"{INFO}{SCOPE.selected()} or envoy_docker_shim_udp_clients{SCOPE.selected()}"

GLANCE = (
    stat("Services", NUMBER, f"count(count by (service, environment) ({KNOWN}))"),
    stat("Requests", REQUESTS, queries.requests(ALL), "HTTP requests per second."),
    stat("Success", SHARE, queries.success(ALL), "Answers below 500.", bad_below=0.95),
    stat("Connections", NUMBER, queries.connections(ALL), "Open connections of clients."),
    stat("To clients", BYTES_PER_SECOND, queries.all_bytes("out", ALL), "HTTP, TCP and UDP."),
    stat("Datagrams", PACKETS, queries.udp("datagrams", ALL), "UDP, both ways."),
    stat(
        "Ports not served",
        NUMBER,
        f"sum({of_host('envoy_docker_shim_bindings', NOT_SERVED)})",
        "Pending, published or rejected: `envoy-docker-shim doctor` says why.",
        bad=1,
    ),
    stat(
        "Alerts",
        NUMBER,
        f'count(ALERTS{{alertname=~"{alerts.PREFIX}.+",alertstate="firing",{HOST}}}) or vector(0)',
        "Firing now; needs alerts.yml in Prometheus.",
        bad=1,
    ),
)

SERVICES = (
    Panel(
        "Services",
        NUMBER,
        (
            Query(queries.requests(SCOPE), "Requests", REQUESTS),
            Query(queries.success(SCOPE), "Success", SHARE),
            Query(queries.latency(0.5, SCOPE), "p50", MILLISECONDS),
            Query(queries.latency(0.95, SCOPE), "p95", MILLISECONDS),
            Query(queries.latency(0.99, SCOPE), "p99", MILLISECONDS),
            Query(queries.connections(SCOPE), "Connections", NUMBER),
            Query(queries.new_connections(SCOPE), "New connections", PER_SECOND),
            Query(queries.all_bytes("in", SCOPE), "From clients", BYTES_PER_SECOND),
            Query(queries.all_bytes("out", SCOPE), "To clients", BYTES_PER_SECOND),
            Query(queries.udp("datagrams", SCOPE), "Datagrams", PACKETS),
        ),
        "Requests, success and latency are of HTTP; connections of HTTP and TCP; bytes of all.",
        TABLE,
        24,
    ),
)

OF_HTTP = (
    by_service("Requests", REQUESTS, queries.requests(SCOPE)),
    Panel(
        "Answers by class",
        REQUESTS,
        (
            Query(
                queries.rate("envoy_http_downstream_rq_xx", HTTP, ALL, "", "envoy_response_code_class"),
                "{{envoy_response_code_class}}xx",
            ),
        ),
        "Of all chosen services. 5xx may be Envoy's own: 503 where the container could not be reached.",
        stacked=True,
    ),
    by_service("Success", SHARE, queries.success(SCOPE), "The share of answers below 500."),
    by_service("Latency: p50", MILLISECONDS, queries.latency(0.5, SCOPE), "As clients see it."),
    by_service("Latency: p95", MILLISECONDS, queries.latency(0.95, SCOPE), "As clients see it."),
    by_service("Latency: p99", MILLISECONDS, queries.latency(0.99, SCOPE), "As clients see it."),
    by_service(
        "The container's share of it: p95",
        MILLISECONDS,
        queries.latency(0.95, SCOPE, "envoy_cluster_upstream_rq_time", queries.CLUSTER),
        "From Envoy's request to the container until its answer is complete.",
    ),
    by_service("Requests in flight", NUMBER, queries.gauge("envoy_http_downstream_rq_active", HTTP, SCOPE)),
    by_service(
        "Connections to containers",
        NUMBER,
        queries.gauge("envoy_cluster_upstream_cx_active", queries.CLUSTER, SCOPE),
        "Open ones, of HTTP and TCP.",
    ),
)

OF_TCP = (
    by_service("Open connections", NUMBER, queries.connections(SCOPE), "Of clients, HTTP and TCP."),
    by_service("New connections", PER_SECOND, queries.new_connections(SCOPE), "Of clients, HTTP and TCP."),
    by_service(
        "New connections that are not HTTP",
        PER_SECOND,
        queries.rate("envoy_tcp_downstream_cx_total", queries.TCP, SCOPE),
        "In mode tcp, and in mode auto what is not HTTP.",
    ),
    by_service("From clients", BYTES_PER_SECOND, queries.all_bytes("in", SCOPE), "HTTP, TCP and UDP."),
    by_service("To clients", BYTES_PER_SECOND, queries.all_bytes("out", SCOPE), "HTTP, TCP and UDP."),
    by_service(
        "Containers that do not accept connections",
        PER_SECOND,
        queries.connect_failures(SCOPE),
        "Attempts that failed: nothing listens on the container's port, or it hangs.",
    ),
)

OF_UDP = (
    by_service("Datagrams from clients", PACKETS, queries.udp("datagrams", SCOPE, 'direction="in"')),
    by_service("Datagrams to clients", PACKETS, queries.udp("datagrams", SCOPE, 'direction="out"')),
    by_service(
        "Clients",
        NUMBER,
        queries.summed(f"envoy_docker_shim_udp_clients{SCOPE.selected()}", SCOPE),
        "UDP that shims relay: clients on the network go Docker's own way where it has one.",
    ),
    Panel(
        "Lost datagrams",
        PACKETS,
        (Query(queries.udp("dropped", SCOPE._replace(by=("service", "reason"))), "{{service}}: {{reason}}"),),
        "No room for another client, or the kernel would not send.",
    ),
    by_service(
        "Nothing listens in the container", PER_SECOND, queries.udp("errors", SCOPE), "ICMP errors from it."
    ),
    by_service("Clients that made room for others", PER_SECOND, queries.udp("evicted", SCOPE)),
)
