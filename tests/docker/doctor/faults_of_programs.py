"""Faults of registrar, Envoy and dockerd."""

import json
import os
import resource
import signal
from collections.abc import Iterator

import yaml

from tests.docker.doctor.making import container, fault, other_text, squatter, stopped
from tests.docker.doctor.rig import Rig
from tests.harness.wait import eventually

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
