"""The table of checks: a row each, in the order of what is met most often.

To add a check is to add a row, the facts that it looks at (facts.py, and shim/doctor to gather them), and its
line in docs/operating.md.
"""

from shim.core.doctor import of_docker, of_ports, of_programs, of_rules, of_services
from shim.core.doctor.finding import Check

CHECKS = (
    Check(
        "configuration",
        "the configuration can be read, and the registrar runs with it",
        of_services.configuration,
    ),
    Check("registrar", "the registrar answers, and nobody else has its address", of_services.registrar),
    Check(
        "envoy",
        "an Envoy is connected and answers, and nobody else has its addresses",
        of_services.envoy,
    ),
    Check("units", "under systemd: both units run, and will after a boot", of_services.units),
    Check("docker", "Docker's API answers, and is of Engine 20.10 or newer", of_docker.answers),
    Check(
        "daemon-json",
        "`daemon.json` is valid, and no setting is on dockerd's command line too",
        of_docker.daemon_file,
    ),
    Check("userland-proxy", "dockerd starts a proxy for each port", of_docker.userland_proxy),
    Check("proxy-path", "that proxy is there, executable, and this very file", of_docker.proxy_path),
    Check("shims", "every published port is held by a shim", of_docker.shims),
    Check("known", "the registrar knows every shim", of_ports.known_to_registrar),
    Check("ports", "Envoy serves every port, and labels make sense", of_ports.in_envoy),
    Check(
        "acknowledged",
        "each Envoy is new enough, and has acknowledged the current versions",
        of_services.acknowledged,
    ),
    Check("listening", "the kernel has a listening socket for every served port", of_ports.listened_on),
    Check("table", "every served port is in the kernel's firewall table", of_rules.table),
    Check("input", "no `INPUT` chain drops the clients of a port", of_rules.input_chains),
    Check("http", "what is served in http mode is HTTP", of_ports.speaks_http),
    Check(
        "container",
        "every container listens on its published port, and not only on its own 127.0.0.1",
        of_docker.container_listens,
    ),
    Check("egress", "containers reach the outside world", of_rules.egress),
    Check("bootstrap", "Envoy runs with what `bootstrap` prints now", of_services.bootstrap),
    Check("live-restore", "dockerd has the `live-restore` that is written", of_docker.live_restore),
    Check("stale-rules", "no rule of Docker's leads to a container that is gone", of_rules.stale),
    Check(
        "egress-table",
        "the rules of the strict way are not loaded beside Docker's own",
        of_rules.egress_table,
    ),
    Check("internal", "internal networks stay in, with `iptables: false`", of_rules.internal),
    Check("swarm", "no port is published by Swarm's ingress", of_docker.swarm),
    Check("low-ports", "Envoy may listen on ports below 1024, if there are any", of_programs.low_ports),
    Check("collectors", "the collectors of traces and metrics are there", of_services.collectors),
    Check("old-shims", "running shims are this version's", of_docker.older_shims),
    Check("files", "registrar and Envoy may have as many files open as the ports need", of_programs.files),
    Check("tasks", "dockerd may have as many processes as the ports need", of_programs.tasks),
    Check("nft", "`nft` is there", of_programs.nft),
    Check("kernel", "Linux is 5.6 or newer", of_programs.kernel),
    Check("python", "`python3` is 3.10 or newer", of_programs.python),
    Check("clock", "the clock is not before the day this file was written", of_programs.clock),
    Check("cache", "there is room to unpack the file", of_programs.cache),
)
