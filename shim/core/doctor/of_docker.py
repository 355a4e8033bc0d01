"""Checks of dockerd: whether it answers, and its settings, as written and as running."""

from collections.abc import Iterable, Iterator

from shim.core.binding import Address
from shim.core.doctor.facts import CannotTell, Facts, Published, Unknown, known
from shim.core.doctor.finding import Finding, listed

OLDEST = (20, 10)
# Written into the file and on the command line too, they keep dockerd from starting.
ONCE = ("userland-proxy-path", "userland-proxy", "iptables", "ip6tables", "live-restore")


def answers(facts: Facts) -> Iterator[Finding]:
    """Docker's API answers."""
    if isinstance(facts.docker, Unknown):
        where = facts.settings.docker_host
        running = facts.dockerd.process is not None
        yield Finding(
            f"Docker does not answer on {where}: {facts.docker.why}",
            "look at journalctl -u docker" if running else "systemctl start docker, or correct docker_host",
        )
    elif facts.docker.version < OLDEST:
        found = ".".join(map(str, facts.docker.version))
        yield Finding(f"Docker Engine is {found}", "install Docker Engine 20.10 or newer")


def daemon_file(facts: Facts) -> Iterator[Finding]:
    """dockerd can start again with its configuration file."""
    file = known(facts.dockerd.file)
    if file.error:
        yield Finding(
            f"{file.path}: {file.error}: dockerd will not start again", "correct it, then restart Docker"
        )
    for name in ONCE:
        if name in file.settings and name in facts.dockerd.flags:
            yield Finding(
                f"{name} is both in {file.path} and on dockerd's command line: dockerd will not start again",
                "take one of the two away",
            )


def userland_proxy(facts: Facts) -> Iterator[Finding]:
    """dockerd starts a proxy for each port."""
    if facts.dockerd.setting("userland-proxy", True) is False:
        yield Finding(
            "userland-proxy is false: dockerd starts no shims",
            f"take it out of {known(facts.dockerd.file).path}, restart Docker",
        )


def proxy_path(facts: Facts) -> Iterator[Finding]:
    """... and that proxy is this file."""
    proxy = facts.dockerd.proxy
    where = "" if isinstance(facts.dockerd.file, Unknown) else f" in {facts.dockerd.file.path}"
    if proxy is None:
        if facts.dockerd.process is None:
            known(facts.dockerd.file)
        yield Finding(
            "userland-proxy-path is not set: dockerd starts its own docker-proxy",
            f'set "userland-proxy-path": "{facts.host.file}"{where}, restart Docker',
        )
    elif not proxy.exists:
        yield Finding(
            f"userland-proxy-path is {proxy.path}, and there is no such file: containers will not start",
            "install the file there, or correct the path; then restart Docker",
        )
    elif not proxy.executable:
        yield Finding(
            f"userland-proxy-path is {proxy.path}, which is not executable: containers will not start",
            f"chmod 755 {proxy.path}",
        )
    elif not proxy.same:
        yield Finding(
            f"dockerd starts {proxy.path}, which is another file, or another version, than {facts.host.file}",
            "install this version there by rename, or call the doctor of the other one",
        )


def live_restore(facts: Facts) -> Iterator[Finding]:
    """What is written is what is running."""
    docker = known(facts.docker)
    written = facts.dockerd.setting("live-restore", None)
    path = "" if isinstance(facts.dockerd.file, Unknown) else facts.dockerd.file.path
    if docker.live_restore and not written:
        yield Finding(
            f"live-restore is on in dockerd, and {'off' if written is False else 'absent'} in {path}:"
            " at its next restart containers end, whatever their restart policies",
            f'write "live-restore": true or false into {path}, then systemctl reload docker',
        )
    elif written and not docker.live_restore:
        yield Finding(
            f"live-restore is on in {path}, and off in dockerd: its next restart ends the containers",
            "systemctl reload docker",
        )


def swarm(facts: Facts) -> Iterator[Finding]:
    """No port is published by Swarm's ingress."""
    found = known(facts.docker).ingress
    if found:
        ports = listed(f"{port.port} of {port.service}" for port in found)
        yield Finding(
            f"Swarm's ingress publishes port {ports}: it is not served by Envoy",
            "publish it with mode=host",
        )


def shims(facts: Facts) -> Iterator[Finding]:
    """Every published port is held by a shim."""
    published = [port for container in known(facts.docker).containers for port in container.published]
    held = {shim.address for shim in facts.shims}
    without = without_shim(published, held)
    if not without:
        return
    ports = listed(f"{port.address} ({port.container})" for port in without)
    proxies = facts.dockerd.proxies
    if proxies:
        cure = "restart Docker: it runs with settings from before, and has docker-proxy serve them"
    elif held:
        cure = f"restart {listed(port.container for port in without)}"
    else:
        cure = "set userland-proxy-path as the installation says, restart Docker"
    yield Finding(f"{len(without)} published ports have no shim: {ports}", cure)


def without_shim(published: Iterable[Published], held: Iterable[Address]) -> list[Published]:
    """The published ports that no shim holds."""
    shims = set(held)
    return [port for port in published if port.address not in shims]


def older_shims(facts: Facts) -> Iterator[Finding]:
    """Running shims are this version's."""
    old = [shim.address for shim in facts.shims if not shim.current]
    if old:
        yield Finding(
            f"{len(old)} shims were started by another version of this file: {listed(old)}",
            "restart their containers when it suits: until then they have what that version had",
        )


def container_listens(facts: Facts) -> Iterator[Finding]:
    """The container listens where Docker's network reaches it."""
    unseen, told = [], set()
    for container in known(facts.docker).containers:
        if isinstance(container.listens, Unknown):
            unseen.append(f"{container.name}: {container.listens.why}")
            continue
        for published in container.published:
            # Of both families' addresses one is enough.
            if published.address.proto != "tcp" or (container.name, published.port) in told:
                continue
            told.add((container.name, published.port))
            ips = {ip for ip, port in container.listens if port == published.port}
            if not ips:
                yield Finding(
                    f"nothing listens on port {published.port} of {container.name},"
                    f" published as {published.address}",
                    "look at docker logs, or correct the port in --publish",
                )
            elif all(ip == "::1" or ip.startswith("127.") for ip in ips):
                yield Finding(
                    f"{container.name} listens on port {published.port} of its own {listed(ips)} only,"
                    f" where {published.address} does not reach it",
                    "have the program listen on 0.0.0.0",
                )
    if unseen:
        raise CannotTell("; ".join(unseen[:2]))
