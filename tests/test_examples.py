"""What is given to users to copy, and what the README says, is true: examples, units, quoted lines."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shim.__main__ import ROLES
from shim.commands import bootstrap
from shim.core.labels import MODES, service_of
from shim.registrar.config import Config, load
from tests.conftest import cannot
from tests.harness.docker import Dockerd, container_python
from tests.harness.engines import ROOT, Engine, which
from tests.harness.envoy import validate
from tests.harness.stack import Stack
from tests.harness.wait import eventually

EXAMPLES = ROOT / "examples"
UNITS = ROOT / "contrib" / "systemd"
README = (ROOT / "README.md").read_text()
INSTALLED = "/usr/local/bin/envoy-docker-shim"
LABELS = ("ServiceName", "EnvironmentName", "ProxyMode")


def blocks(language: str) -> list[str]:
    """The README's code blocks in that language."""
    found: list[str] = re.findall(rf"^ *```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)
    return found


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    return rows[2:]


# -- examples ------------------------------------------------------------------------------------------


def envoy_yaml() -> str:
    return (EXAMPLES / "envoy.yaml").read_text()


def test_envoy_yaml_is_what_bootstrap_prints_for_the_defaults() -> None:
    assert envoy_yaml() == bootstrap.text(Config(), "docker-host", "docker")


@pytest.mark.envoy
def test_envoy_accepts_envoy_yaml_without_a_warning(tmp_path: Path) -> None:
    said = validate(tmp_path, yaml.safe_load(envoy_yaml()))
    assert re.findall(r".*\[(?:warning|error|critical)\].*", said) == []


def uncommented() -> str:
    """The example configuration with its settings switched on; prose has a space after its `#`."""
    text = (EXAMPLES / "envoy-docker-shim.yaml").read_text()
    return re.sub(r"^#((?:  )*[a-z_]+:.*)$", r"\1", text, flags=re.MULTILINE)


def test_the_example_configuration_as_it_is_changes_nothing() -> None:
    assert load(str(EXAMPLES / "envoy-docker-shim.yaml"), {}) == Config()


def test_the_example_configuration_shows_every_key_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(uncommented())
    assert set(yaml.safe_load(uncommented())) == set(Config._fields)
    loaded = load(str(file), {})
    assert loaded._replace(tracing=None) == Config()
    assert loaded.tracing is not None and loaded.tracing.sampling == 100


def test_the_example_configuration_may_name_zipkin_in_place_of_otlp(tmp_path: Path) -> None:
    match = re.search(r"in place of otlp, (zipkin: \S+)", uncommented())
    assert match is not None
    file = tmp_path / "config.yaml"
    file.write_text(re.sub(r"otlp: .*", match[1], uncommented()))
    tracing = load(str(file), {}).tracing
    assert tracing is not None and tracing.kind == "zipkin"


def test_daemon_json_names_the_file_where_the_units_have_it() -> None:
    settings = json.loads((EXAMPLES / "daemon.json").read_text())
    assert settings == {
        "userland-proxy": True,
        "userland-proxy-path": INSTALLED,
        "iptables": False,
        "ip6tables": False,
    }


@pytest.mark.docker
def test_dockerd_takes_daemon_json(engine: Engine, tmp_path: Path) -> None:
    """As it is, but for the proxy's path, which has to be there."""
    settings = json.loads((EXAMPLES / "daemon.json").read_text())
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({**settings, "userland-proxy-path": str(engine.proxy)}))
    said = subprocess.run(
        [engine.dockerd, "--config-file", file, "--iptables=true"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PATH": engine.path},
    )
    # Only the flag added here is in its way; and this is the message that the README quotes.
    assert re.search(
        r"directives are specified both as a flag and in the configuration file: iptables", said.stderr
    )


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
    return services


def test_compose_runs_envoy_in_the_hosts_network_with_the_examples_file() -> None:
    envoy = compose()["envoy"]
    assert envoy["network_mode"] == "host" and "ports" not in envoy
    (mount,) = envoy["volumes"]
    source, target, _ = mount.split(":")
    assert (EXAMPLES / source).samefile(EXAMPLES / "envoy.yaml")
    assert target in envoy["command"]


def test_compose_shows_http_tcp_udp_and_a_service_without_labels() -> None:
    services = {name: service for name, service in compose().items() if name != "envoy"}
    modes = {}
    for name, service in services.items():
        labels = {"com.docker.compose.service": name, **service.get("labels", {})}
        found = service_of({"Labels": labels}, Config().default_mode)
        assert (found.name, found.problem) == (name, "")
        (port,) = service["ports"]
        modes[name] = "udp" if port.endswith("/udp") else found.mode
        assert set(service.get("labels", {})) <= set(LABELS)
    assert modes == {"shop": "http", "cache": "tcp", "echo": "udp", "plain": "http"}
    assert "labels" not in services["plain"]


# -- units ---------------------------------------------------------------------------------------------


def settings_of(unit: str) -> list[tuple[str, str]]:
    lines = [line for line in (UNITS / unit).read_text().splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize("unit", ["envoy-docker-shim.service", "envoy.service"])
def test_what_a_unit_runs_is_a_command_of_ours_or_envoy(unit: str) -> None:
    commands = [shlex.split(value.lstrip("-")) for key, value in settings_of(unit) if key.startswith("Exec")]
    assert commands
    for program, *arguments in commands:
        if program == "envoy":
            assert "/etc/envoy-docker-shim/envoy.yaml" in arguments
        else:
            assert program == INSTALLED
            assert arguments[0] in ROLES


def test_the_registrars_unit_has_the_directories_that_the_defaults_name() -> None:
    unit = dict(settings_of("envoy-docker-shim.service"))
    assert Config().socket.startswith(f"/run/{unit['RuntimeDirectory']}/")
    assert unit["CacheDirectory"] == "envoy-docker-shim"
    assert (unit["Type"], unit["Before"]) == ("notify", "docker.service")
    assert "PartOf" not in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """In a directory that stands for a host where everything is installed."""
    system = tmp_path / "etc/systemd/system"
    shutil.copytree(UNITS, system)
    binaries = tmp_path / "usr/local/bin"
    binaries.mkdir(parents=True)
    for name in ("envoy", "envoy-docker-shim", "dockerd"):
        shutil.copy("/bin/true", binaries / name)
    (system / "docker.service").write_text("[Unit]\nDescription=Docker\n[Service]\nExecStart=dockerd\n")
    for target in ("sysinit", "basic", "shutdown", "network", "multi-user"):
        (system / f"{target}.target").write_text("[Unit]\nDescription=stub\nDefaultDependencies=no\n")
    units = [path.name for path in system.glob("*.service")]
    assert len(units) == 3
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", *units],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- README --------------------------------------------------------------------------------------------


def test_the_readme_quotes_daemon_json() -> None:
    assert [json.loads(block) for block in blocks("json")] == [
        json.loads((EXAMPLES / "daemon.json").read_text())
    ]


def test_the_readmes_tracing_lines_load(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    file = tmp_path / "config.yaml"
    for text, kind in (
        (block, "otlp"),
        (block.replace("  otlp:", "  # otlp:").replace("  # zipkin:", "  zipkin:"), "zipkin"),
    ):
        file.write_text(text)
        tracing = load(str(file), {}).tracing
        assert tracing is not None and tracing.kind == kind


def test_the_readmes_commands_exist() -> None:
    text = "\n".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", README)])
    words = set(re.findall(r"(?:^|\s)envoy-docker-shim ([a-z]+)", text, re.MULTILINE))
    assert {"server", "bootstrap", "up", "status"} <= words
    assert words <= {*ROLES, "envoy"}  # `systemctl enable ... envoy-docker-shim envoy`


def test_the_readmes_links_and_paths_exist() -> None:
    for target in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`((?:examples|contrib|tests|shim|dist|\.ci)/[\w./-]+)`", README):
        assert target.startswith("dist/") or (ROOT / target).exists(), target
    map_of_the_tree = README.split("## Developing", 1)[1].split("```")[1]
    for line in map_of_the_tree.strip().splitlines():
        for folder in re.findall(r"(?:^|(?<= ))[\w/]+/(?= )", line.split("  ")[0] + " "):
            assert (ROOT / folder).is_dir(), folder


def test_the_readmes_table_of_keys_is_the_configuration() -> None:
    rows = table_rows("Configuration")
    assert [row[0].strip("`") for row in rows] == list(Config._fields)
    for key, default, *_ in rows:
        value = getattr(Config(), key.strip("`"))
        assert default == ("none" if value is None else f"`{value}`")


def test_the_readmes_variables_override_the_file() -> None:
    overridden = {row[2].strip("`"): row[0].strip("`") for row in table_rows("Configuration") if row[2]}
    values = {
        "SHIM_SOCKET": "/run/x.sock",
        "SHIM_API_ADDR": "127.0.0.1:1",
        "DOCKER_HOST": "tcp://docker.test:2375",
    }
    assert set(overridden) == set(values)
    loaded = load(str(EXAMPLES / "envoy-docker-shim.yaml"), values)
    assert {variable: str(getattr(loaded, key)) for variable, key in overridden.items()} == values


def test_the_readmes_table_of_labels_is_complete() -> None:
    assert tuple(row[0].strip("`") for row in table_rows("Labels")) == LABELS
    assert all(f"`{mode}`" in table_rows("Labels")[2][1] for mode in MODES)


# -- README, on a real dockerd --------------------------------------------------------------------------

FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode().strip())"
SERVE = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(("::", int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine, "--ipv6", "--fixed-cidr-v6=fd00:d0c::/64", neighbour=True) as running:
        yield running


def fetch(dockerd: Dockerd, container: str, url: str) -> str:
    """What a container gets from there within 2 s, or an empty text."""
    try:
        return dockerd.exec(container, container_python(), "-c", FETCH, url)
    except AssertionError:
        return ""


@pytest.mark.docker
@pytest.mark.envoy
def test_the_nftables_lines_give_egress_and_isolation_back(stack: Stack) -> None:
    if which("nft") is None:
        cannot("no nft (Debian: nftables)")
    host, dockerd = stack.host, stack.dockerd
    dockerd.docker("network", "create", "two")
    serve = ("-c", SERVE)
    one = dockerd.run_python(*serve, "one", "80", options=["-p", "8080:80"])
    two = dockerd.run_python(*serve, "two", "80", options=["-p", "8081:80", "--network=two"], name="two")
    beside = dockerd.run_python(
        "-c", "import time; time.sleep(1e6)", options=["--network=two"], name="beside"
    )
    host.neighbour.popen([sys.executable, "-c", SERVE, "world", "9000"])
    eventually(lambda: host.http_get(f"http://{host.neighbour_ip}:9000/").text == "world")
    assert stack.get(8080, host.ip, source=host.neighbour).text == "one"
    assert stack.get(8081, host.ip6, source=host.neighbour).text == "two"
    world = f"http://{host.neighbour_ip}:9000/"
    world6 = f"http://[{host.neighbour_ip6}]:9000/"

    # Without the lines.
    assert fetch(dockerd, one, world) == fetch(dockerd, one, world6) == ""
    assert fetch(dockerd, one, f"http://{dockerd.ip(two)}/") == "two"

    (lines,) = blocks("nft")
    for _ in range(2):  # loading them once more does no harm
        host.run("nft", "-f", "-", stdin=lines.encode())
    assert fetch(dockerd, one, world) == fetch(dockerd, one, world6) == "world"
    assert fetch(dockerd, two, world) == "world"
    # One network is a network still, whatever the bridge hands to the firewall; two are apart.
    for bridged in ("0", "1"):
        host.run("sh", "-c", f"echo {bridged} | tee /proc/sys/net/bridge/bridge-nf-call-ip*tables || :")
        assert fetch(dockerd, beside, "http://two/") == "two"
        assert fetch(dockerd, one, f"http://{dockerd.ip(two)}/") == ""
        # Published ports are reached by all, containers of other networks included.
        assert fetch(dockerd, one, f"http://{host.ip}:8081/") == "two"
        assert stack.get(8080, host.ip6, source=host.neighbour).text == "one"
    # Nobody walks in past Envoy.
    host.neighbour.run("ip", "route", "add", "172.16.0.0/12", "via", host.ip)
    with pytest.raises(TimeoutError):
        host.neighbour.connect(dockerd.ip(one), 80, timeout=1)

    # Published ports come in by INPUT: the host's firewall decides.
    firewall = b"""
        table inet firewall {
          chain input {
            type filter hook input priority filter
            iifname "eth0" tcp dport 8080 drop
          }
        }
    """
    host.run("nft", "-f", "-", stdin=firewall)
    with pytest.raises(TimeoutError):
        host.neighbour.connect(host.ip, 8080, timeout=1)
    assert stack.get(8081, host.ip, source=host.neighbour).text == "two"


@pytest.mark.docker
@pytest.mark.envoy
def test_the_readmes_series_are_on_envoys_page_under_the_services_name(stack: Stack) -> None:
    labels = {"ServiceName": "web", "EnvironmentName": "dev"}
    stack.dockerd.run_http("hello", "-p", "8090:80", labels=labels)
    stack.dockerd.run_tcp_echo("-p", "8091:7", labels={**labels, "ProxyMode": "tcp"})
    stack.get(8090)
    stack.binding(8091)
    with stack.host.connect("127.0.0.1", 8091) as peer:
        peer.sendall(b"x")
    page = eventually(lambda: _page_with(stack, "envoy_tcp_downstream_cx_total", "envoy_http_downstream_rq"))
    for names, label, _ in table_rows("Metrics"):
        for name in re.findall(r"`(\S+)`", names):
            series = [line for line in page.splitlines() if line.startswith(f"{name}{{")]
            assert series, name
            key = re.match(r"`(\w+)", label)
            assert key is None or any(f'{key[1]}="web-dev-809' in line for line in series), name


def _page_with(stack: Stack, *names: str) -> str:
    page = stack.envoy.admin("/stats/prometheus")
    return page if all(f"\n{name}" in page for name in names) else ""
