"""The files in examples/ are what the programs print, take and mean."""

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shim.commands import bootstrap
from shim.config.keys import KEYS, Config
from shim.config.load import load
from shim.core.docker.labels import service_of, serving_of
from shim.core.envoy.modes import Serving
from shim.core.envoy.sinks import Sinks
from shim.core.setup import egress
from tests.examples.documents import EXAMPLES, INSTALLED, LABELS, blocks
from tests.harness.engines import Engine
from tests.harness.envoy import validate


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
    assert set(yaml.safe_load(uncommented())) == set(KEYS)
    loaded = load(str(file), {})
    assert dataclasses.replace(loaded, tracing=None, metrics=Sinks(), traces_url=None) == Config()
    assert loaded.traces_url and "{service}" in loaded.traces_url
    assert loaded.metrics.otlp and loaded.metrics.statsd and loaded.metrics.interval == Sinks().interval
    assert loaded.tracing is not None and loaded.tracing.sampling == 100


def test_the_example_configuration_may_name_zipkin_in_place_of_otlp(tmp_path: Path) -> None:
    match = re.search(r"in place of otlp, (zipkin: \S+)", uncommented())
    assert match is not None
    file = tmp_path / "config.yaml"
    file.write_text(re.sub(r"otlp: .*", match[1], uncommented(), count=1))
    tracing = load(str(file), {}).tracing
    assert tracing is not None and tracing.kind == "zipkin"


def daemon_json(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((EXAMPLES / name).read_text())
    return settings


def test_daemon_json_names_the_file_where_the_units_have_it() -> None:
    assert daemon_json("daemon.json") == {"userland-proxy-path": INSTALLED}
    without = {"iptables": False, "ip6tables": False}
    assert daemon_json("daemon-strict.json") == {**daemon_json("daemon.json"), **without}


def test_the_pages_rules_of_the_strict_way_are_those_that_install_writes() -> None:
    assert blocks("nft", "docs/networking.md") == [egress.rules([])]


@pytest.mark.docker
@pytest.mark.parametrize("name", ["daemon.json", "daemon-strict.json"])
def test_dockerd_takes_daemon_json(name: str, engine: Engine, tmp_path: Path) -> None:
    """As it is, but for the proxy's path, which has to be there."""
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps({**daemon_json(name), "userland-proxy-path": str(engine.proxy)}))
    said = subprocess.run(
        [engine.dockerd, "--config-file", file, f"--userland-proxy-path={engine.proxy}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PATH": engine.path},
    )
    # Only the flag added here is in its way; and this is the message that docs/operating.md quotes.
    assert re.search(
        r"directives are specified both as a flag and in the configuration file: userland-proxy-path: "
        r"\(from flag: [^:]*: [^:]*\)$",
        said.stderr.strip(),
    ), said.stderr


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
    return services


def test_compose_runs_envoy_in_the_hosts_network_with_the_examples_file() -> None:
    envoy = compose()["envoy"]
    assert envoy["network_mode"] == "host" and "ports" not in envoy
    file, *directories = (mount.split(":") for mount in envoy["volumes"])
    assert (EXAMPLES / file[0]).samefile(EXAMPLES / "envoy.yaml")
    assert file[1] in envoy["command"]
    # The sockets are where its file says, inside as outside.
    assert all(inside == outside for outside, inside in directories)
    sockets = Config().api_address.path, Config().envoy_admin.path
    assert [inside for _, inside in directories] == [str(Path(socket).parent) for socket in sockets]


def test_compose_shows_auto_tcp_udp_and_a_service_without_labels() -> None:
    services = {name: service for name, service in compose().items() if name != "envoy"}
    modes, default = {}, Serving(Config().default_mode)
    for name, service in services.items():
        labels = {"com.docker.compose.service": name, **service.get("labels", {})}
        found, serving = service_of({"Labels": labels}), serving_of({"Labels": labels}, default)
        assert (found.name, serving.problem) == (name, "")
        (port,) = service["ports"]
        modes[name] = "udp" if port.endswith("/udp") else serving.mode.name
        assert set(service.get("labels", {})) <= set(LABELS)
    assert modes == {"shop": "auto", "cache": "tcp", "echo": "udp", "plain": "auto"}
    assert "labels" not in services["plain"]
