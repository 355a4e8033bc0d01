"""Bare files on a host: `up --configure-docker`, and `install` of the file that brings its Envoy."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness.machine import Machine
from tests.harness.netns import CommandError, tool_env
from tests.harness.wait import eventually

pytestmark = [pytest.mark.machine, pytest.mark.envoy]

FILE = "/root/envoy-docker-shim"
SETTINGS = "/etc/docker/daemon.json"
BEFORE = '{\n    "debug": false\n}\n'


@pytest.fixture
def stock(machine: Machine) -> Machine:
    """A host with a published container, and no Envoy in $PATH."""
    machine.shell("mv /usr/local/bin/envoy /root/envoy")
    machine.put(SETTINGS, BEFORE, mode=0o640)
    machine.run_http("hello", "--name=web", "--publish=8080:80", "--restart=always")
    return machine


def networks(machine: Machine) -> list[str]:
    """Who is there for clients outside, as `status` says; nobody where no registrar is."""
    text = machine.shell(f"{FILE} status --json 2>/dev/null || :")
    return [binding["network"]["by"] for binding in json.loads(text)["bindings"]] if text else []


def answers(machine: Machine) -> bool:
    return bool(machine.client.http_get(f"http://{machine.ip}:8080/").text == "hello\n")


def proxies(machine: Machine) -> int:
    """How many of Docker's own proxies run."""
    return int(machine.shell("pgrep -c docker-proxy || :"))


def started(machine: Machine) -> Any:
    return machine.docker("inspect", "--format={{.State.StartedAt}}", "web")


class Up:
    """`up` as somebody runs it at a terminal."""

    def __init__(self, machine: Machine, *options: str) -> None:
        self.log = machine.host.dir / "up.log"
        with self.log.open("ab") as log:
            argv = machine.argv(FILE, "up", "--configure-docker", *options)
            self.process = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=tool_env()
            )

    def said(self, text: str) -> bool:
        assert self.process.poll() is None or text in self.log.read_text(), self.log.read_text()
        return text in self.log.read_text()


def end(machine: Machine, name: str) -> None:
    machine.shell(f"pkill -{name} -o -f '{FILE} up'")


def test_docker_is_configured_while_it_runs_and_as_before_when_it_ends(
    stock: Machine, artifact: Path
) -> None:
    stock.put(FILE, artifact, mode=0o755)
    since, mode = started(stock), stock.run("stat", "--format=%a %u", SETTINGS)
    up = Up(stock, "--envoy", "/root/envoy")
    eventually(lambda: networks(stock) == ["envoy", "envoy"], 40, "clients outside are led to Envoy")
    assert answers(stock) and started(stock) == since
    assert json.loads(stock.read(SETTINGS)) == {"debug": False, "userland-proxy-path": FILE}
    assert up.said("restart Docker, with live-restore on for that moment: no container stops")
    # Killed, it can put nothing back; the next one does.
    end(stock, "KILL")
    up.process.wait(20)
    assert json.loads(stock.read(SETTINGS))["userland-proxy-path"] == FILE
    stock.shell("pkill -KILL -x envoy || :")
    up = Up(stock, "--envoy", "/root/envoy")
    eventually(lambda: up.said("Docker's ports are served"), 40, "it has configured Docker")
    eventually(lambda: networks(stock) == ["envoy", "envoy"], 40, "clients outside are led to Envoy")
    end(stock, "TERM")
    assert up.process.wait(60) == 0, up.log.read_text()
    assert "Docker has its own proxies again" in up.log.read_text()
    assert stock.read(SETTINGS) == BEFORE and stock.run("stat", "--format=%a %u", SETTINGS) == mode
    assert answers(stock) and started(stock) == since and proxies(stock) == 2
    assert "Live Restore Enabled: false" in stock.docker("info")
    # Engine 20.10 keeps its key there.
    assert set(stock.shell("ls /etc/docker").split()) - {"key.json"} == {"daemon.json"}


def test_what_cannot_be_configured_ends_it_with_all_as_it_was(stock: Machine, artifact: Path) -> None:
    stock.put(FILE, artifact, mode=0o755)
    stock.put(SETTINGS, '{"debug": fals}')
    up = Up(stock, "--envoy", "/root/envoy")
    assert up.process.wait(60) == 1
    assert "Docker is not configured: /etc/docker/daemon.json is not valid: " in up.log.read_text()
    assert stock.read(SETTINGS) == '{"debug": fals}' and proxies(stock) == 2 and answers(stock)


def test_a_file_that_brings_its_envoy_is_all_that_a_host_needs(stock: Machine, with_envoy: Path) -> None:
    stock.put(FILE, with_envoy, mode=0o755)
    with pytest.raises(CommandError, match="no envoy"):
        stock.shell("command -v envoy || { echo no envoy >&2; false; }")
    told = stock.shell(f"{FILE} install --dry-run")
    assert "the unit of /var/lib/envoy-docker-shim/envoy-1.40.0-" in told
    assert "envoy" not in stock.shell("ls /var/lib")
    print(stock.shell(f"{FILE} install --yes --restart-docker"))
    eventually(lambda: networks(stock) == ["envoy", "envoy"], 20, "clients outside are led to Envoy")
    assert answers(stock)
    assert "there is nothing to change" in stock.shell(f"{FILE} install --yes --restart-docker")
    stock.shell("envoy-docker-shim uninstall --yes --restart-docker --purge")
    assert answers(stock) and proxies(stock) == 2
    assert stock.shell("find / -xdev -name 'envoy*' -not -path '/var/log/*' -not -path '/root/*'") == ""
