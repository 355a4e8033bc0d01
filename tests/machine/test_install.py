"""One file onto a host that serves already, and off it again: `install` and `uninstall`."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.docker import IMAGE
from tests.harness.engines import Engine, find_engine
from tests.harness.machine import Machine
from tests.harness.netns import CommandError
from tests.harness.rootfs import VOLATILE, changes
from tests.harness.wait import eventually
from tests.machine.conftest import booted, statistics
from tests.machine.installing import install_command
from tests.machine.outage import Asking, echo, http
from tests.machine.versions import as_version

pytestmark = [pytest.mark.machine, pytest.mark.envoy]

FILE, ENVOY = "/root/envoy-docker-shim", "/root/envoy"
INSTALL = f"{install_command().replace('dist/envoy-docker-shim', FILE)} --envoy {ENVOY}"
UNINSTALL = "envoy-docker-shim uninstall --yes --restart-docker --purge"
SETTINGS = '{\n    "debug": false,\n    "log-opts": {"max-size": "10m"}\n}\n'
# The tools that make users keep their files as they were before.
IGNORED = (*VOLATILE, *(f"etc/{name}-" for name in ("passwd", "shadow", "group", "gshadow")))
# What any command unpacks.
UNPACKED = "var/cache/envoy-docker-shim"


@pytest.fixture
def stock(machine: Machine, artifact: Path) -> Machine:
    return as_stock(machine, artifact)


def as_stock(machine: Machine, artifact: Path) -> Machine:
    """A host with two published containers, and the bare file: no Envoy in $PATH."""
    machine.shell(f"mv /usr/local/bin/envoy {ENVOY}")
    machine.put(FILE, artifact, mode=0o755)
    machine.put("/etc/docker/daemon.json", SETTINGS, mode=0o640)
    machine.run_http("hello", "--name=web", "--publish=8080:80", "--restart=always")
    options = ["-d", "--name=db", "--publish=5432:7", "--restart=always", "--stop-signal=KILL"]
    machine.docker("run", *options, IMAGE, "nc", "-ll", "-p", "7", "-e", "cat")
    return machine


def files(machine: Machine, *ignored: str) -> dict[str, str]:
    without = (*IGNORED, *ignored)
    return {path: text for path, text in machine.files(without).items() if path not in without}


def asking(machine: Machine) -> tuple[Asking, Asking]:
    """Clients outside of both containers."""
    web, db = http(machine.ip, 8080, "hello"), echo(machine.ip, 5432)
    return Asking(machine.client, "web (HTTP)", web), Asking(machine.client, "db (TCP)", db)


def share(seconds: float) -> float:
    """That long for who has the processors for itself; longer where others are at work on this machine."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def answered(machine: Machine) -> None:
    """Both containers answer a client outside."""
    for ask in (http(machine.ip, 8080, "hello"), echo(machine.ip, 5432)):
        eventually(lambda a=ask: _answers(machine, a), 20, "an answer")  # type: ignore[misc]


def _answers(machine: Machine, ask: Any) -> bool:
    try:
        return bool(machine.client.call(ask))
    except OSError:
        return False


def counted(machine: Machine) -> dict[str, int]:
    """What Envoy has counted for each container."""
    kinds = r'envoy_(?:http_downstream_rq|tcp_downstream_cx)_total\{[^}]*prefix="(web|db)-\d+"\} (\d+)$'
    return {name: int(number) for name, number in re.findall(kinds, statistics(machine), re.MULTILINE)}


def served(machine: Machine) -> None:
    """Both by Envoy, for clients outside, and Envoy's statistics know of them."""
    eventually(lambda: networks(machine) == ["envoy"] * 4, 20, "clients outside are led to Envoy")
    before = counted(machine)
    answered(machine)
    eventually(lambda: all(counted(machine)[n] > before.get(n, 0) for n in ("web", "db")), what="statistics")


def networks(machine: Machine) -> list[str]:
    text = machine.shell("envoy-docker-shim status --json || :")
    return [b["network"]["by"] for b in json.loads(text)["bindings"] if b["acknowledged_by"]] if text else []


def started(machine: Machine) -> list[str]:
    """When each container started."""
    return machine.docker("inspect", "--format={{.Name}} {{.State.StartedAt}}", "web", "db").splitlines()


def refused(machine: Machine, command: str) -> str:
    """What a command says that does not end with 0."""
    with pytest.raises(CommandError) as caught:
        machine.shell(f"{command} 2>&1", timeout=180)
    print(caught.value)
    return str(caught.value)


def test_from_stock_to_served_and_back_to_the_byte(stock: Machine, artifact: Path) -> None:
    before, containers = files(stock), started(stock)
    web, db = asking(stock)
    with web, db:
        began = time.monotonic()
        print(stock.shell(INSTALL, timeout=180))
        took = time.monotonic() - began
    print(f"installed in {took:.1f} s")
    assert took < share(20)
    for client in (web, db):
        client.report("install")
        assert client.outage() < share(2)
    served(stock)
    assert started(stock) == containers  # no container has stopped
    assert "Live Restore Enabled: false" in stock.docker("info")
    assert "nothing to change" in stock.shell(f"{FILE} install --yes --restart-docker")

    stock.reboot()
    served(stock)
    stock.power_cut()
    stock.boot()
    served(stock)

    stock.put(FILE, as_version(artifact, "0.1.9"), mode=0o755)
    web, db = asking(stock)
    open_before = stock.client.connect(stock.ip, 5432)
    with web, db, open_before:
        said = stock.shell(f"{FILE} install --yes", timeout=180)
        open_before.sendall(b"still open\n")
        assert open_before.recv(100) == b"still open\n"
    print(said)
    assert "registrar 0.1.9" in said
    for client in (web, db):
        client.report("upgrade")
        assert client.failed() == []
    served(stock)

    containers = started(stock)
    web, db = asking(stock)
    with web, db:
        print(stock.shell(UNINSTALL, timeout=180))
    for client in (web, db):
        client.report("uninstall")
        assert client.outage() < share(2)
    answered(stock)
    assert started(stock) == containers
    stock.put(FILE, artifact, mode=0o755)
    assert changes(before, files(stock)) == []
    assert "envoy_docker_shim" not in stock.run("nft", "list", "tables")
    assert "envoy" not in stock.run("systemctl", "list-units", "--all", "--plain", "--no-legend")
    stock.reboot()
    answered(stock)
    assert "docker-proxy" in stock.run("ps", "-e")


def test_docker_is_restarted_for_who_says_so_only(artifact: Path) -> None:
    with booted(find_engine("28")) as machine:
        stock = as_stock(machine, artifact)
        before, pid = files(stock, UNPACKED), stock.unit("docker.service", "MainPID")
        quiet = INSTALL.replace(" --restart-docker", "")
        # Nobody is there to be asked; somebody is, and says no.
        said = refused(stock, quiet.replace(" --yes", ""))
        assert "(status 2)" in said and "only after --yes" in said
        asked = f"script --quiet --return --command '{quiet.replace(' --yes', '')}' /dev/null"
        assert "Do this? [y/N]" in refused(stock, f"echo n | {asked}")
        assert changes(before, files(stock, UNPACKED)) == []
        said = refused(stock, quiet)
        assert "Left to do, and no container stops: envoy-docker-shim install --restart-docker" in said
        assert "userland-proxy-path" in stock.read("/etc/docker/daemon.json")
        answered(stock)
        print(stock.shell("envoy-docker-shim uninstall --yes", timeout=180))
        kept = (UNPACKED, "etc/envoy-docker-shim.yaml")
        assert changes(before, files(stock, *kept)) == []
        assert stock.unit("docker.service", "MainPID") == pid


def test_where_docker_does_not_come_back_all_is_undone(stock: Machine) -> None:
    stock.put(
        "/etc/systemd/system/docker.service.d/guard.conf",
        "[Service]\nExecStartPre=/bin/sh -c '! grep envoy-docker-shim /etc/docker/daemon.json'\n",
    )
    stock.run("systemctl", "daemon-reload")
    before, containers = files(stock, UNPACKED), started(stock)
    said = refused(stock, INSTALL)
    assert "Docker does not start" in said and "all is as it was before" in said
    assert changes(before, files(stock, UNPACKED)) == []
    assert started(stock) == containers
    assert "Live Restore Enabled: false" in stock.docker("info")
    answered(stock)
    assert "envoy_docker_shim" not in stock.run("nft", "list", "tables")


def test_what_dockerd_would_not_take_is_found_before_its_restart(stock: Machine, engine: Engine) -> None:
    pid = stock.unit("docker.service", "MainPID")
    # It is on Debian's command line too; an engine that can check a file sees the other.
    told = {'{"hosts": ["fd://"]}': "does it refuse /etc/docker/daemon.json?"}
    if engine.name != "20.10":
        told['{"log-level": "loud"}'] = "loud"
    for settings, reason in told.items():
        stock.put("/etc/docker/daemon.json", settings)
        before = files(stock, UNPACKED)
        said = refused(stock, INSTALL)
        assert "all is as it was before" in said and reason in said
        assert changes(before, files(stock, UNPACKED)) == []
        assert stock.unit("docker.service", "MainPID") == pid
    # What can be seen by reading it is refused before anything is done.
    stock.put("/etc/docker/daemon.json", '{\n  "debug": true,\n}\n')
    assert "/etc/docker/daemon.json is not valid: line 3, column 1" in refused(stock, INSTALL)
    stock.put("/etc/docker/daemon.json", "{}")
    dockerd = "/usr/sbin/dockerd -H fd:// --userland-proxy-path /usr/sbin/docker-proxy"
    stock.put(
        "/etc/systemd/system/docker.service.d/path.conf",
        f"[Service]\nExecStart=\nExecStart={dockerd}\n",
    )
    stock.shell("systemctl daemon-reload; systemctl restart docker")
    assert "--userland-proxy-path=/usr/sbin/docker-proxy (see" in refused(stock, INSTALL)


def test_the_strict_way_and_back(stock: Machine) -> None:
    stock.docker("network", "create", "--internal", "--subnet=10.77.0.0/24", "shut")
    stock.docker("run", "-d", "--name=shut", "--network=shut", "--restart=always", IMAGE, "sleep", "1d")
    stock.client.popen(["busybox", "nc", "-ll", "-p", "9000", "-e", "echo", "world"])
    eventually(lambda: world(stock, "web") == "world")
    before, containers, rules = files(stock), started(stock), docker_rules(stock)
    web, db = asking(stock)
    with web, db:
        print(stock.shell(f"{INSTALL} --strict", timeout=180))
    for client in (web, db):
        client.report("install --strict")
        assert client.outage() < share(3)
    served(stock)
    assert docker_rules(stock) == []
    assert started(stock) == containers
    assert (world(stock, "web"), world(stock, "shut")) == ("world", "")
    assert "nothing to change" in stock.shell(f"{FILE} install --yes --restart-docker")

    stock.reboot()
    served(stock)
    assert docker_rules(stock) == []
    assert (world(stock, "web"), world(stock, "shut")) == ("world", "")
    # Whoever restarts the host's own firewall takes them away for a moment.
    stock.run("systemctl", "restart", "nftables")
    assert world(stock, "web") == "world"
    served(stock)

    print(stock.shell(UNINSTALL, timeout=180))
    answered(stock)
    assert world(stock, "web") == "world"
    assert changes(before, files(stock)) == []
    assert "docker_egress" not in stock.run("nft", "list", "tables")
    assert docker_rules(stock) == rules


def world(machine: Machine, container: str) -> str:
    """What a container gets from the client, which is the world; empty where it does not reach it."""
    ask = f"docker exec {container} nc -w 2 {machine.client_ip} 9000 || :"
    return machine.shell(ask).strip()


def docker_rules(machine: Machine) -> list[str]:
    """Docker's chains, and the policies that it has set."""
    text = machine.shell("iptables-save; ip6tables-save")
    return sorted({x.split(" [")[0] for x in text.splitlines() if re.match(":DOCKER|:FORWARD DROP", x)})
