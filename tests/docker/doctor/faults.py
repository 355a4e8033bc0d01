"""Twenty and more faults: each is put in, and taken out when its context ends."""

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.docker.doctor.rig import Rig
from tests.harness.netns import Namespace
from tests.harness.wait import eventually

Making = Callable[[Rig], AbstractContextManager[None]]


class Fault(NamedTuple):
    """One row.  ``says``: words of the finding and its cure; ``also``: checks that find it too."""

    check: str
    put_in: Making
    says: tuple[str, ...]
    also: frozenset[str] = frozenset()


FAULTS: dict[str, Fault] = {}


def fault(
    check: str, *says: str, also: tuple[str, ...] = ()
) -> Callable[[Callable[[Rig], Iterator[None]]], None]:
    """The decorator of a row."""

    def add(making: Callable[[Rig], Iterator[None]]) -> None:
        name = making.__name__.replace("_", "-")
        FAULTS[name] = Fault(check, _undone(making), says, frozenset(also))

    return add


def _undone(making: Callable[[Rig], Iterator[None]]) -> Making:
    """What comes after `yield` is done also where the test has failed."""

    @contextmanager
    def put_in(rig: Rig) -> Iterator[None]:
        steps = making(rig)
        next(steps)
        try:
            yield
        finally:
            next(steps, None)

    return put_in


@contextmanager
def other_text(file: Path, text: str) -> Iterator[None]:
    """Another content for as long; the time when it was written comes back too."""
    before, times = file.read_text(), file.stat()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextmanager
def container(rig: Rig, *options: str, cmd: tuple[str, ...], **labels: str) -> Iterator[None]:
    rig.dockerd.run("--name=patient", *options, cmd=cmd, labels=labels)
    try:
        yield
    finally:
        rig.dockerd.docker("rm", "--force", "patient")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def rules(rig: Rig, *commands: str, undo: str) -> Iterator[None]:
    for command in commands:
        rig.host.run("sh", "-c", command)
    try:
        yield
    finally:
        rig.host.run("sh", "-c", undo)


@contextmanager
def squatter(place: Namespace, port: int) -> Iterator[int]:
    """Another program that listens; yields its process."""
    process = place.popen(["busybox", "nc", "-ll", "-p", str(port), "-e", "true"])
    try:
        eventually(lambda: listens(place, port), what=f"port {port} is taken")
        yield process.pid
    finally:
        process.kill()
        process.wait(10)


def listens(place: Namespace, port: int) -> bool:
    with place.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- registrar and Envoy ----------------------------------------------------------------------------------


@fault("configuration", "unknown key fire_wall", "correct it")
def configuration_with_a_typo(rig: Rig) -> Iterator[None]:
    config = rig.stack.registrar.config
    with other_text(config, config.read_text() + "fire_wall: true\n"):
        yield


@fault("configuration", "changed after the registrar", "restart the registrar")
def configuration_newer_than_the_registrar(rig: Rig) -> Iterator[None]:
    config = rig.stack.registrar.config
    with other_text(config, config.read_text()):
        future = config.stat().st_mtime + 60
        os.utime(config, (future, future))
        yield


@fault("registrar", "no registrar answers", "systemctl enable --now envoy-docker-shim")
def no_registrar(rig: Rig) -> Iterator[None]:
    rig.stack.registrar.end()
    yield
    rig.stack.registrar.start()


@fault("registrar", "does not answer", "restart it")
def registrar_that_hangs(rig: Rig) -> Iterator[None]:
    with stopped(rig.stack.registrar.pid):
        yield


@fault("registrar", "is taken by process", "stop it")
def api_address_of_another(rig: Rig) -> Iterator[None]:
    rig.stack.registrar.end()
    with squatter(rig.host, rig.stack.registrar.api):
        yield
    rig.stack.registrar.start()


@fault("table", "the kernel has no table", "start the registrar", also=("registrar",))
def table_taken_away(rig: Rig) -> Iterator[None]:
    rig.stack.registrar.end()
    rig.stack.registrar.command("firewall", "clear")
    yield
    rig.stack.registrar.start()


@fault("envoy", "no Envoy is connected", "systemctl enable --now envoy")
def no_envoy(rig: Rig) -> Iterator[None]:
    rig.stack.envoy.stop()
    yield
    rig.stack.envoy.start()


@fault("envoy", "does not answer on its admin", "restart it")
def envoy_that_hangs(rig: Rig) -> Iterator[None]:
    with stopped(rig.stack.envoy.pid):
        yield


@fault("envoy", "envoy_admin 127.0.0.1:9901 is taken by process", "another address")
def admin_address_of_another(rig: Rig) -> Iterator[None]:
    rig.stack.envoy.stop()
    with squatter(rig.host, 9901):
        yield
    rig.stack.envoy.start()


@fault("bootstrap", "is not what this version's bootstrap prints", "restart Envoy")
def bootstrap_of_another_configuration(rig: Rig) -> Iterator[None]:
    file = rig.stack.envoy.config
    with other_text(file, file.read_text().replace('_headers_size_kb": 256', '_headers_size_kb": 60')):
        yield


@fault("bootstrap", "was changed after Envoy", "restart Envoy")
def bootstrap_newer_than_envoy(rig: Rig) -> Iterator[None]:
    file = rig.stack.envoy.config
    with other_text(file, file.read_text()):
        future = file.stat().st_mtime + 60
        os.utime(file, (future, future))
        yield


@fault("collectors", "nothing listens on 127.0.0.1:4317, where tracing leads", "start it")
def collector_that_is_not_there(rig: Rig) -> Iterator[None]:
    registrar = rig.stack.registrar
    before = registrar.config.read_text()
    tracing = {"tracing": {"otlp": "grpc://127.0.0.1:4317"}}
    registrar.config.write_text(yaml.safe_dump({**yaml.safe_load(before), **tracing}))
    rig.restart_registrar()
    bootstrap = yaml.safe_load(registrar.command("bootstrap").stdout)
    rig.stack.envoy.stop()
    try:
        with rig.stack.another_envoy("tracing", bootstrap):
            yield
            with squatter(rig.host, 4317):
                rig.is_healthy()
    finally:
        registrar.config.write_text(before)
        rig.restart_registrar()
        rig.stack.envoy.start()


@fault("low-ports", "Envoy may not listen on ports below 1024", "CAP_NET_BIND_SERVICE", also=("ports",))
def envoy_that_may_not_have_port_80(rig: Rig) -> Iterator[None]:
    rig.stack.envoy.stop()
    confined = ("setpriv", "--bounding-set=-net_bind_service")
    with rig.stack.another_envoy("confined", rig.stack.bootstrap, *confined):
        with container(rig, "-p", "127.0.0.1:80:80", cmd=("httpd", "-f", "-p", "80")):
            yield
    rig.stack.envoy.start()


@fault("files", "the registrar", "files open", "LimitNOFILE")
def registrar_with_few_files(rig: Rig) -> Iterator[None]:
    pid = rig.stack.registrar.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (70, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


# -- dockerd ----------------------------------------------------------------------------------------------


@fault("docker", "Docker does not answer", "journalctl -u docker")
def dockerd_that_hangs(rig: Rig) -> Iterator[None]:
    with stopped(rig.dockerd.pid):
        yield


@fault("daemon-json", "not valid JSON", "correct it")
def daemon_json_with_a_comma_too_many(rig: Rig) -> Iterator[None]:
    with other_text(rig.daemon_file, '{"debug": true,}'):
        yield


@fault("daemon-json", "both in", "take one of the two away")
def setting_in_two_places(rig: Rig) -> Iterator[None]:
    with other_text(rig.daemon_file, json.dumps({"userland-proxy-path": str(rig.file)})):
        yield


@fault("userland-proxy", "userland-proxy is false", "restart Docker")
def userland_proxy_off(rig: Rig) -> Iterator[None]:
    with other_text(rig.daemon_file, '{"userland-proxy": false}'):
        yield


@fault("proxy-path", "there is no such file", "install the file there")
def proxy_path_that_is_not_there(rig: Rig) -> Iterator[None]:
    rig.file.rename(rig.file.with_suffix(".away"))
    yield
    rig.file.with_suffix(".away").rename(rig.file)


@fault("proxy-path", "not executable", "chmod 755")
def proxy_path_that_is_not_executable(rig: Rig) -> Iterator[None]:
    rig.file.chmod(0o644)
    yield
    rig.file.chmod(0o755)


@fault("proxy-path", "another version", "by rename")
def proxy_path_of_another_version(rig: Rig) -> Iterator[None]:
    away = rig.file.rename(rig.file.with_suffix(".away"))
    rig.file.write_bytes(away.read_bytes() + b"\n")
    rig.file.chmod(0o755)
    yield
    away.rename(rig.file)


@fault("live-restore", "on in dockerd, and absent in", "true or false")
def live_restore_deleted_from_the_file(rig: Rig) -> Iterator[None]:
    def running(wanted: bool, text: str) -> None:
        rig.daemon_file.write_text(text)
        os.kill(rig.dockerd.pid, signal.SIGHUP)
        eventually(lambda: rig.dockerd.api("/info")["LiveRestoreEnabled"] is wanted)

    running(True, '{"live-restore": true}')
    with other_text(rig.daemon_file, "{}"):
        os.kill(rig.dockerd.pid, signal.SIGHUP)
        yield
    running(False, '{"live-restore": false}')
    rig.daemon_file.write_text("{}")


@fault("shims", "have no shim: tcp/0.0.0.0:8090 (patient)", "restart patient")
def shims_killed(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "0.0.0.0:8090:80", cmd=("httpd", "-f", "-p", "80")):
        (pid,) = [pid for pid, argv in rig.dockerd.proxies().items() if "8090" in argv]
        os.kill(pid, signal.SIGKILL)
        yield


# -- containers -------------------------------------------------------------------------------------------


@fault("ports", "ProxyMode='htpt'", "correct the label")
def label_with_a_typo(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:80", cmd=("httpd", "-f", "-p", "80"), ProxyMode="htpt"):
        rig.stack.binding(8090)
        yield


@fault("container", "only", "0.0.0.0")
def container_that_listens_on_its_loopback(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:80", cmd=("httpd", "-f", "-p", "127.0.0.1:80")):
        yield


@fault("container", "nothing listens on port 81 of patient, published as tcp/0.0.0.0:8090", "docker logs")
def container_that_listens_elsewhere(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:81", cmd=("httpd", "-f", "-p", "80")):
        yield


@fault("http", "did not begin with a request, and got a 400", "ProxyMode=tcp")
def service_that_is_not_http(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:6379", cmd=("nc", "-ll", "-p", "6379", "-e", "cat")):
        rig.stack.binding(8090)
        with rig.host.connect("127.0.0.1", 8090) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        yield


@fault("http", "a database is usual", "ProxyMode=tcp")
def service_that_speaks_first(rig: Rig) -> Iterator[None]:
    with (
        container(rig, "-p", "8091:3306", cmd=("nc", "-ll", "-p", "3306", "-e", "echo", "5.5")),
        ExitStack() as clients,
    ):
        rig.stack.binding(8091)
        client = clients.enter_context(rig.host.connect("127.0.0.1", 8091, timeout=0.3))
        try:
            client.recv(100)
        except TimeoutError:
            pass
        yield


# -- the firewall -----------------------------------------------------------------------------------------


@fault(
    "input", "chain input of table inet ward drops clients on the network: tcp/0.0.0.0:5432", "open the ports"
)
def input_chain_that_drops_by_default(rig: Rig) -> Iterator[None]:
    rules_ = """
    table inet ward {
      chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state vmap { established : accept, related : accept, invalid : drop }
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport { 22, 8080 } accept
      }
    }"""
    with rules(rig, f"nft -f - <<'.'\n{rules_}\n.", undo="nft delete table inet ward"):
        yield


@fault(
    "input",
    "chain INPUT of table ip filter drops clients on the network: tcp/0.0.0.0:8080 (shop)",
    "ufw allow",
)
def iptables_rule_that_drops(rig: Rig) -> Iterator[None]:
    rule = "INPUT -p tcp -m conntrack --ctstate NEW -m multiport --dports 8080,9000:9010 -j DROP"
    with rules(rig, f"iptables -I {rule}", undo=f"iptables -D {rule}"):
        yield


@fault("stale-rules", "leads tcp port 9999 to 172.17.0.99:80", "iptables -t nat -D DOCKER")
def rule_to_a_container_that_is_gone(rig: Rig) -> Iterator[None]:
    rule = "DOCKER -p tcp --dport 9999 -j DNAT --to-destination 172.17.0.99:80"
    with rules(rig, f"iptables -t nat -A {rule}", undo=f"iptables -t nat -D {rule}"):
        yield


@fault("egress", "no rule masquerades them", "restart Docker")
def masquerading_taken_away(rig: Rig) -> Iterator[None]:
    rule = "POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
    with rules(rig, f"iptables -t nat -D {rule}", undo=f"iptables -t nat -I {rule}"):
        yield


@fault("egress", "net.ipv4.ip_forward is 0", "sysctl")
def forwarding_off(rig: Rig) -> Iterator[None]:
    switch = "echo {} >/proc/sys/net/ipv4/ip_forward"
    with rules(rig, switch.format(0), undo=switch.format(1)):
        yield


@fault("egress", "chain forward of table inet ward drops what containers on bridge send out", "docker0")
def forward_chain_that_drops(rig: Rig) -> Iterator[None]:
    chain = "{ type filter hook forward priority 10; policy drop; }"
    commands = "nft add table inet ward", f"nft 'add chain inet ward forward {chain}'"
    with rules(rig, *commands, undo="nft delete table inet ward"):
        yield


@fault("egress-table", "is loaded beside Docker's own rules", "nft delete table inet docker_egress")
def rules_of_the_strict_way(rig: Rig) -> Iterator[None]:
    with rules(rig, "nft add table inet docker_egress", undo="nft delete table inet docker_egress"):
        yield
