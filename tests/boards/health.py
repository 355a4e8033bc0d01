"""A host that is well, as promtool takes it: a series for each thing that rules ask for, over ten minutes.

Three services: web (http), db (tcp) and dns (UDP).  A sample each 15 s.
"""

from collections.abc import Mapping
from typing import Any

INTERVAL = 15  # seconds
SAMPLES = 40
END = "10m"
HOST = "h:9901"
WEB = {"service": "web", "environment": "dev"}
MIB = 1024 * 1024


def steady(value: float) -> str:
    """This value all the time."""
    return f"{value}+0x{SAMPLES}"


def growing(per_second: float) -> str:
    """A counter that grows by so much."""
    return f"0+{per_second * INTERVAL}x{SAMPLES}"


def of(name: str, job: str = "envoy-docker-shim", **labels: str) -> str:
    """A series of this host."""
    pairs = {"instance": HOST, **({"job": job} if job else {}), **labels}
    told = ",".join(f'{label}="{value}"' for label, value in pairs.items())
    return f"{name}{{{told}}}"


def envoy(name: str, label: str = "", cluster: str = "", **labels: str) -> str:
    """A series of Envoy's, of a cluster by the label that it has for that."""
    return of(f"envoy_{name}", "envoy", **({label: cluster} if label else {}), **labels)


def udp(name: str, **labels: str) -> str:
    """A series of the UDP service's."""
    port = {"address": "0.0.0.0:53", "service": "dns", "environment": "", "container": "dns-1"}
    return of(f"envoy_docker_shim_udp_{name}", **port, **labels)


def info(cluster: str, service: str, environment: str = "dev") -> str:
    """Whose a cluster is."""
    told = {"cluster": cluster, "service": service, "environment": environment}
    return of("envoy_docker_shim_service_info", **told, container=f"{service}-1", image="i", mode="auto")


def _http(cluster: str, requests: float, failed: float) -> dict[str, str]:
    prefix = "http_conn_manager_prefix"
    found = {
        envoy("http_downstream_rq_total", f"envoy_{prefix}", cluster): growing(requests),
        envoy("http_downstream_cx_rx_bytes_total", f"envoy_{prefix}", cluster): growing(1000),
        envoy("http_downstream_cx_tx_bytes_total", f"envoy_{prefix}", cluster): growing(2000),
    }
    answers = {"2": requests - failed, "5": failed}
    for kind, rate in answers.items():
        labels = {"envoy_response_code_class": kind}
        found[envoy("http_downstream_rq_xx", f"envoy_{prefix}", cluster, **labels)] = growing(rate)
    for bound, share in {"10": 0.5, "100": 0.95, "1000": 0.99, "+Inf": 1.0}.items():
        bucket = envoy("http_downstream_rq_time_bucket", f"envoy_{prefix}", cluster, le=bound)
        found[bucket] = growing(requests * share)
    return found


def with_http(requests: float, failed: float) -> dict[str, str]:
    """What web has with so many requests and failures a second."""
    return _http("web-dev-8080", requests, failed)


HEALTH: Mapping[str, str] = {
    of("up", "envoy"): steady(1),
    of("up"): steady(1),
    of("envoy_docker_shim_build_info", version="1"): steady(1),
    of("envoy_docker_shim_envoys"): steady(1),
    of("envoy_docker_shim_envoy_current", node="n", kind="listeners"): steady(1),
    of("envoy_docker_shim_envoy_current", node="n", kind="clusters"): steady(1),
    of("envoy_docker_shim_bindings", state="pending"): steady(0),
    of("envoy_docker_shim_bindings", state="published"): steady(0),
    of("envoy_docker_shim_bindings", state="serving"): steady(3),
    of("envoy_docker_shim_bindings", state="rejected"): steady(0),
    of("envoy_docker_shim_docker_reachable"): steady(1),
    of("envoy_docker_shim_settled"): steady(1),
    of("envoy_docker_shim_firewall_whole"): steady(1),
    of("envoy_docker_shim_firewall_addresses"): steady(4),
    of("envoy_docker_shim_firewall_restorations_total"): steady(1),
    of("envoy_docker_shim_releases_waiting"): steady(0),
    of("process_resident_memory_bytes"): steady(40 * MIB),
    of("process_open_fds"): steady(100),
    of("process_max_fds"): steady(1024),
    envoy("server_memory_allocated"): steady(100 * MIB),
    info("web-dev-8080", "web"): steady(1),
    info("db-dev-5432", "db"): steady(1),
    **with_http(10, 0),
    envoy("listener_downstream_cx_active", "envoy_listener_address", "web-dev-8080"): steady(7),
    envoy("listener_downstream_cx_total", "envoy_listener_address", "web-dev-8080"): growing(4),
    envoy("tcp_downstream_cx_rx_bytes_total", "envoy_tcp_prefix", "db-dev-5432"): growing(300),
    envoy("tcp_downstream_cx_tx_bytes_total", "envoy_tcp_prefix", "db-dev-5432"): growing(400),
    envoy("cluster_upstream_cx_connect_fail", "envoy_cluster_name", "web-dev-8080"): steady(2),
    udp("datagrams_total", direction="in"): growing(20),
    udp("datagrams_total", direction="out"): growing(30),
    udp("bytes_total", direction="in"): growing(500),
    udp("bytes_total", direction="out"): growing(600),
    udp("dropped_total", reason="no_room"): steady(0),
    udp("dropped_total", reason="to_container"): steady(0),
    udp("errors_total"): steady(1),
    # Other targets have such series too.
    of("process_resident_memory_bytes", "node"): steady(4096 * MIB),
    envoy("http_downstream_rq_total", "envoy_http_conn_manager_prefix", "envoy_docker_shim_scrape"): growing(
        1
    ),
}


def series(changes: Mapping[str, str]) -> list[dict[str, Any]]:
    """HEALTH with these changed, as ``input_series``; an empty text leaves a series out."""
    return [{"series": name, "values": values} for name, values in {**HEALTH, **changes}.items() if values]
