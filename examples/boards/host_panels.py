"""What the dashboard shows of hosts: their Envoys, registrars, Docker and firewall."""

from examples.boards import alerts
from examples.boards.panel import (
    BYTES,
    NUMBER,
    PER_SECOND,
    SECONDS,
    SHARE,
    WINDOW,
    Panel,
    Query,
    host_rate,
    of_host,
    of_process,
)
from shim.core.envoy.bootstrap import HEAP_MB

PUSH = "envoy_docker_shim_push_duration_seconds"

OF_ENVOYS = (
    Panel(
        "Connected, and with the current version",
        NUMBER,
        (
            Query(f"sum by (instance) ({of_host('envoy_docker_shim_envoys')})", "Envoys at {{instance}}"),
            Query(
                f"min by (instance, node, kind) ({of_host('envoy_docker_shim_envoy_current')})",
                "{{node}} has the current {{kind}}",
            ),
        ),
        "1: it has acknowledged what it is to have.",
    ),
    Panel(
        "Pushed, taken, refused",
        PER_SECOND,
        (
            Query(host_rate("envoy_docker_shim_pushes_total", "kind"), "pushed: {{kind}}"),
            Query(host_rate("envoy_docker_shim_acknowledgements_total", "kind"), "taken (ACK): {{kind}}"),
            Query(host_rate("envoy_docker_shim_rejections_total", "kind"), "refused (NACK): {{kind}}"),
        ),
    ),
    Panel(
        "From a push to Envoy's word on it: p95",
        SECONDS,
        (
            Query(
                f"histogram_quantile(0.95, {host_rate(f'{PUSH}_bucket', 'le', 'kind')})",
                "{{kind}}",
            ),
        ),
    ),
    Panel(
        "Listeners that Envoy refuses",
        NUMBER,
        (Query(of_host("envoy_docker_shim_envoy_rejected_listeners"), "{{node}} at {{instance}}"),),
        "`envoy-docker-shim status` shows the reason.",
    ),
    Panel(
        "Envoy's memory",
        BYTES,
        (
            Query(of_host("envoy_server_memory_allocated"), "{{instance}}"),
            Query(f"vector({HEAP_MB} * 1024 * 1024)", "envoy_heap_mb by default"),
        ),
        "Near envoy_heap_mb it turns new requests away.",
    ),
    Panel(
        "What Envoy has",
        NUMBER,
        (
            Query(of_host("envoy_listener_manager_total_listeners_active"), "listeners at {{instance}}"),
            Query(of_host("envoy_cluster_manager_active_clusters"), "clusters at {{instance}}"),
        ),
    ),
)

OF_REGISTRAR = (
    Panel(
        "Ports by state",
        NUMBER,
        (Query(f"sum by (state) ({of_host('envoy_docker_shim_bindings')})", "{{state}}"),),
        stacked=True,
    ),
    Panel(
        "Ports that start",
        PER_SECOND,
        (Query(host_rate("envoy_docker_shim_registrations_total", "by"), "by {{by}}"),),
        "By search: found running, after a start of the registrar.",
    ),
    Panel(
        "Releases that wait for Envoy",
        NUMBER,
        (Query(of_host("envoy_docker_shim_releases_waiting"), "{{instance}}"),),
        "Shims of stopping containers, each for 2 s at most.",
    ),
    Panel(
        "Docker and the registrar",
        NUMBER,
        (
            Query(of_host("envoy_docker_shim_docker_reachable"), "Docker answers {{instance}}"),
            Query(of_host("envoy_docker_shim_settled"), "settled: {{instance}}"),
        ),
        "1: yes.",
    ),
    Panel(
        "Firewall's table",
        NUMBER,
        (
            Query(of_host("envoy_docker_shim_firewall_active"), "leads to Envoy: {{instance}}"),
            Query(of_host("envoy_docker_shim_firewall_whole"), "whole: {{instance}}"),
            Query(of_host("envoy_docker_shim_firewall_addresses"), "addresses: {{instance}}"),
        ),
        "1: yes.",
    ),
    Panel(
        "Firewall's table: put back after others",
        PER_SECOND,
        (Query(host_rate("envoy_docker_shim_firewall_restorations_total", "instance"), "{{instance}}"),),
    ),
    Panel(
        "The registrar's CPU",
        SHARE,
        (Query(of_process(f"rate({of_host('process_cpu_seconds_total')}[{WINDOW}])"), "{{instance}}"),),
        "Of one core.",
    ),
    Panel(
        "The registrar's memory",
        BYTES,
        (
            Query(of_process(of_host("process_resident_memory_bytes")), "{{instance}}"),
            Query(f"vector({alerts.REGISTRAR_MB} * 1024 * 1024)", "MemoryMax= of its unit"),
        ),
    ),
    Panel(
        "The registrar's open files",
        NUMBER,
        (Query(of_process(of_host("process_open_fds")), "{{instance}}"),),
    ),
    Panel(
        "UDP relays",
        NUMBER,
        (Query(of_host("envoy_docker_shim_udp_relays"), "{{instance}}"),),
        "Processes that relay now.",
    ),
    Panel(
        "Since the last start",
        SECONDS,
        (
            Query(of_process(f"time() - {of_host('process_start_time_seconds')}"), "registrar: {{instance}}"),
            Query(of_host("envoy_server_uptime"), "Envoy: {{instance}}"),
        ),
    ),
    Panel(
        "Versions",
        NUMBER,
        (Query(of_host("envoy_docker_shim_build_info"), "{{version}} at {{instance}}"),),
    ),
)
