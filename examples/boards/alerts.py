"""Alerts: a row for each thing that somebody should look at, in plain words and with what to run."""

from typing import NamedTuple

from examples.boards.recording import name
from shim.core.envoy.bootstrap import HEAP_MB

PREFIX = "EnvoyDockerShim"
# MemoryMax= of the registrar's unit.
REGISTRAR_MB = 256
DOCTOR = "Run `envoy-docker-shim doctor` as root on that host."
OPERATING = "docs/operating.md"
CRITICAL, WARNING = "critical", "warning"
OURS = "and on (instance, job) envoy_docker_shim_build_info"
SERVICE = "{{ $labels.service }}{{ with $labels.environment }}/{{ . }}{{ end }} on {{ $labels.instance }}"


class Alert(NamedTuple):
    """``name`` without PREFIX; ``wait``: how long ``expr`` has to hold; ``when``: that, for the docs' table.

    ``summary`` and ``description`` are templates of Prometheus'.  ``runbook`` is a heading of OPERATING.
    """

    name: str
    severity: str
    expr: str
    wait: str
    when: str
    summary: str
    description: str
    runbook: str


ALERTS = (
    Alert(
        "EnvoyGone",
        CRITICAL,
        'up{job="envoy"} == 0',
        "1m",
        "Envoy's statistics cannot be scraped",
        "Envoy on {{ $labels.instance }} does not answer",
        "Clients on the network are led to the containers past Envoy, without metrics. Clients on the host"
        f" itself, and containers, are refused. {DOCTOR} `systemctl status envoy` says whether Envoy runs.",
        "while-something-is-down",
    ),
    Alert(
        "RegistrarGone",
        CRITICAL,
        'up{job="envoy-docker-shim"} == 0\nunless on (instance) up{job="envoy"} == 0',
        "1m",
        "Envoy answers, and the registrar does not",
        "The registrar on {{ $labels.instance }} does not answer",
        "Ports that are served go on. New ones are not served, and containers that stop keep Docker waiting."
        f" {DOCTOR} `systemctl status envoy-docker-shim` says whether the registrar runs.",
        "while-no-registrar-is-there",
    ),
    Alert(
        "NoEnvoyConnected",
        CRITICAL,
        "envoy_docker_shim_envoys == 0",
        "1m",
        "no Envoy that counts asks the registrar",
        "No Envoy is connected to the registrar on {{ $labels.instance }}",
        "New ports are not served. Envoy may run with an old configuration file, or as a user whose Envoys do"
        f" not count. {DOCTOR}",
        "symptoms",
    ),
    Alert(
        "ConfigurationRefused",
        CRITICAL,
        "envoy_docker_shim_envoy_current == 0",
        "5m",
        "an Envoy has not acknowledged the current listeners or clusters",
        "Envoy {{ $labels.node }} on {{ $labels.instance }} has not taken its current {{ $labels.kind }}",
        "It refuses at least a part of them, or does not answer. Ports that it has taken are served."
        f" {DOCTOR} `envoy-docker-shim status` shows Envoy's reason.",
        "is-it-healthy",
    ),
    Alert(
        "PortsRejected",
        WARNING,
        'envoy_docker_shim_bindings{state="rejected"} > 0',
        "2m",
        "Envoy refuses a port",
        "{{ $value }} published ports are rejected by Envoy on {{ $labels.instance }}",
        "Mostly another program listens there. The line of such a port in `envoy-docker-shim status` has"
        f" Envoy's reason. {DOCTOR}",
        "symptoms",
    ),
    Alert(
        "PortsNotServed",
        WARNING,
        'envoy_docker_shim_bindings{state=~"pending|published"} > 0\n'
        "unless on (instance) envoy_docker_shim_envoys == 0",
        "2m",
        "a port is pending, or published and not confirmed",
        "{{ $value }} published ports on {{ $labels.instance }} stay {{ $labels.state }}",
        "A port is served within a second of its container's start. These wait for Docker's labels (pending)"
        f" or for Envoy's confirmation (published). {DOCTOR}",
        "is-it-healthy",
    ),
    Alert(
        "DockerUnreachable",
        WARNING,
        "envoy_docker_shim_docker_reachable == 0",
        "2m",
        "Docker's API does not answer",
        "The registrar on {{ $labels.instance }} does not reach Docker",
        "Ports that are served go on. New ones are served after 10 s, without labels: under their IP address."
        f" {DOCTOR} `systemctl status docker` says whether Docker runs.",
        "while-something-is-down",
    ),
    Alert(
        "NotSettled",
        WARNING,
        "envoy_docker_shim_settled == 0",
        "2m",
        "the registrar does not know as much as before its restart",
        "The registrar on {{ $labels.instance }} has not settled since its start",
        "It waits for Docker's labels, or for shims that `envoy-docker-shim resync` has to bring. Until then"
        f" Envoy keeps what it has, and new ports are not served. {DOCTOR}",
        "resync",
    ),
    Alert(
        "FirewallNotWhole",
        WARNING,
        "envoy_docker_shim_firewall_whole == 0\nand envoy_docker_shim_firewall_addresses > 0",
        "2m",
        "the kernel does not have the firewall table that is wanted",
        "The firewall table on {{ $labels.instance }} is not as it should be",
        "Clients on the network may be led to the containers past Envoy, by Docker's own rules."
        f" {DOCTOR} `envoy-docker-shim status` says what is in the way.",
        "the-firewalls-table",
    ),
    Alert(
        "FirewallFought",
        WARNING,
        "increase(envoy_docker_shim_firewall_restorations_total[15m]) > 5",
        "0m",
        "other programs took the table away more than five times in 15 minutes",
        "Something on {{ $labels.instance }} takes the firewall table away again and again",
        "The registrar puts it back each time, and `journalctl -u envoy-docker-shim` says when: look for what"
        f" flushes all rules then. {DOCTOR}",
        "the-firewalls-table",
    ),
    Alert(
        "ErrorRate",
        WARNING,
        f"{name('http_errors', 'ratio5m')} > 0.05\nand {name('http_requests')} > 0.1",
        "5m",
        "more than 5 % of a service's answers are 5xx",
        f"{{{{ $value | humanizePercentage }}}} of the answers of {SERVICE} are errors",
        "Answers of 500 and above, from the container or from Envoy in its place (503: it could not be"
        f" reached). `envoy-docker-shim logs --errors` shows them where there is an access log. {DOCTOR}",
        "symptoms",
    ),
    Alert(
        "ContainerRefuses",
        WARNING,
        f"{name('connect_failures')} > 0",
        "5m",
        "connections to a service's container fail",
        f"The container of {SERVICE} does not accept connections",
        "Nothing listens on the container's port, or only on the container's own 127.0.0.1, or it hangs. HTTP"
        f" clients get 503, others closed connections. {DOCTOR}",
        "symptoms",
    ),
    Alert(
        "UdpDropped",
        WARNING,
        f"{name('udp_dropped')} > 0",
        "5m",
        "a service loses UDP datagrams",
        f"{{{{ $value | humanize }}}} UDP datagrams a second of {SERVICE} are lost",
        "There is no room for another client, or the kernel could not send in time: too many clients at once,"
        f" or more datagrams than the host can pass on. {DOCTOR}",
        "symptoms",
    ),
    Alert(
        "UdpNobodyListens",
        WARNING,
        f"{name('udp_errors')} > 0",
        "5m",
        "nothing listens on a service's UDP port in its container",
        f"Nothing listens for the UDP datagrams of {SERVICE}",
        f"The container answers with ICMP errors: look at the container. {DOCTOR}",
        "symptoms",
    ),
    Alert(
        "ReleasesWait",
        WARNING,
        "envoy_docker_shim_releases_waiting > 0",
        "1m",
        "stopping containers wait for Envoy all the time",
        "Containers that stop on {{ $labels.instance }} wait for Envoy",
        f"A connected Envoy does not answer, so each stop takes 2 s longer. {DOCTOR} Restart that Envoy.",
        "symptoms",
    ),
    Alert(
        "EnvoyMemory",
        WARNING,
        f"envoy_server_memory_allocated > 0.8 * {HEAP_MB} * 1024 * 1024",
        "5m",
        f"Envoy has more than 80 % of the memory that it may have ({HEAP_MB} MB)",
        "Envoy on {{ $labels.instance }} has {{ $value | humanize1024 }}B of memory",
        f"With more than `envoy_heap_mb` ({HEAP_MB} MB unless configured) it turns new requests away. Raise"
        f" that and MemoryMax= of its unit, or look for clients that open too many connections. {DOCTOR}",
        "when-something-is-wrong",
    ),
    Alert(
        "RegistrarMemory",
        WARNING,
        f"process_resident_memory_bytes > 0.8 * {REGISTRAR_MB} * 1024 * 1024\n{OURS}",
        "5m",
        f"the registrar has more than 80 % of its unit's memory ({REGISTRAR_MB} MB)",
        "The registrar on {{ $labels.instance }} has {{ $value | humanize1024 }}B of memory",
        f"At MemoryMax= of its unit ({REGISTRAR_MB} MB) the kernel kills it, and systemd starts it anew: no"
        f" request fails. {DOCTOR} Some thousand ports may need a higher MemoryMax=.",
        "when-something-is-wrong",
    ),
    Alert(
        "RegistrarFiles",
        WARNING,
        f"process_open_fds / process_max_fds > 0.8\n{OURS}",
        "5m",
        "the registrar has more than 80 % of the files open that it may have",
        "The registrar on {{ $labels.instance }} uses {{ $value | humanizePercentage }} of its descriptors",
        f"It needs some for each port, and takes in no new one without. {DOCTOR}"
        " Raise LimitNOFILE= of its unit.",
        "what-doctor-checks",
    ),
)
