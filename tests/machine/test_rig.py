"""The throw-away host itself: Docker as Debian installs it, reboots, power cuts, and nothing left behind."""

from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.machine import Machine
from tests.harness.netns import CommandError
from tests.harness.rootfs import changes
from tests.harness.wait import eventually

pytestmark = pytest.mark.machine


def answers(machine: Machine, port: int, word: str) -> None:
    """From outside, at both of the machine's addresses."""
    for address in (machine.ip, f"[{machine.ip6}]"):
        url = f"http://{address}:{port}/"
        eventually(lambda at=url: machine.client.http_get(at).text == f"{word}\n", 20, url)  # type: ignore[misc]


def test_a_host_boots_with_docker_as_it_is_installed(machine: Machine, engine: Engine) -> None:
    assert machine.run("systemctl", "is-system-running").strip() == "running"
    assert machine.run("cat", "/proc/1/comm").strip() == "systemd"
    assert machine.docker("version", "--format={{.Server.Version}}").startswith(engine.name)
    assert "-j DOCKER" in machine.run("iptables", "-t", "nat", "-S")
    machine.run_http("hello", "-p", "8080:80")
    answers(machine, 8080, "hello")
    # What a container sees of the world is the client.
    machine.client.popen(["busybox", "nc", "-ll", "-p", "9000", "-e", "echo", "world"])
    ask = ["run", "--rm", "eds/busybox:1", "nc", "-w", "5", machine.client_ip, "9000"]
    eventually(lambda: machine.docker(*ask) == "world")


def test_disk_and_containers_live_through_reboots_and_power_cuts(machine: Machine) -> None:
    machine.run_http("hello", "-p", "8080:80", "--restart=always")
    machine.put("/etc/kept", "kept\n")
    machine.run("nft", "add", "table", "inet", "gone")
    starts = {boot_log(machine)}
    machine.reboot()
    assert "gone" not in machine.run("nft", "list", "tables")
    answers(machine, 8080, "hello")
    starts.add(boot_log(machine))
    machine.power_cut()
    with pytest.raises(OSError):
        machine.client.connect(machine.ip, 8080, timeout=1)
    machine.boot()
    answers(machine, 8080, "hello")
    starts.add(boot_log(machine))
    machine.shut_down()
    machine.boot()
    starts.add(boot_log(machine))
    assert machine.read("/etc/kept") == "kept\n"
    assert len(starts) == 4


def test_what_changed_on_the_disk_is_told(machine: Machine) -> None:
    before = machine.files()
    assert "usr/local/bin/envoy" in before
    machine.docker("run", "--rm", "eds/busybox:1", "true")
    machine.shell("""
        cp /etc/passwd /etc/passwd.new
        mv /etc/passwd.new /etc/passwd
    """)
    assert changes(before, machine.files()) == []
    machine.put("/opt/new/file", b"\0", mode=0o600)
    machine.shell("""
        rm /etc/issue
        echo more >>/etc/fstab
        ln -s elsewhere /opt/link
    """)
    told = {line.split(": ")[0]: line for line in changes(before, machine.files())}
    assert sorted(told) == ["/etc/fstab", "/etc/issue", "/opt/link", "/opt/new", "/opt/new/file"]
    assert told["/etc/issue"].endswith("=> nothing")
    assert "-rw------- 0:0 1 bytes" in told["/opt/new/file"]
    assert told["/opt/link"].endswith("-> elsewhere")


def test_nothing_is_left_behind() -> None:
    """Not even by one that had containers, and whose boot failed in the end."""
    machine = Machine()
    with machine:
        machine.run_http("hello", "-p", "8080:80")
        machine.power_cut()
        (machine.disk.root / "usr/lib/systemd/systemd").unlink()
        with pytest.raises(CommandError, match="did not boot"):
            machine.boot()
    assert machine.leftovers() == []
    assert not [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if machine.host.name in line
    ]


def boot_log(machine: Machine) -> str:
    """What is new in every boot: the journal's first line."""
    return machine.journal().splitlines()[0]
