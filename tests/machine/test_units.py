"""The units on a running systemd, installed by hand as docs say: what is served, allowed and exposed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples.documents import EXAMPLES, LOGROTATE
from tests.harness.docker import IMAGE
from tests.harness.engines import Engine
from tests.harness.machine import Machine
from tests.harness.wait import eventually
from tests.machine.conftest import booted, statistics
from tests.machine.installing import install_by_hand

pytestmark = [pytest.mark.machine, pytest.mark.envoy]

REGISTRAR, ENVOY = "envoy-docker-shim.service", "envoy.service"

# What `systemd-analyze security` (252) says, from 0 (nothing to gain) to 10; lower it when it gets lower.
EXPOSURE = {REGISTRAR: 2.4, ENVOY: 1.4}


@pytest.fixture(scope="module")
def machine(engine: Engine, artifact: Path) -> Iterator[Machine]:
    """One for all tests here: none of them leaves it other than it was."""
    with booted(engine) as running:
        # What runs already is served once the README's last command is done, with no reboot.
        running.run_http("hello", "--name=c1", "--publish=8080:80", "--restart=always")
        install_by_hand(running, artifact)
        served(running)
        yield running


def served(machine: Machine, word: str = "hello") -> None:
    """A client outside gets 200 with that word, and through Envoy."""
    eventually(lambda: network(machine) == ["envoy", "envoy"], 20, "clients outside are led to Envoy")
    for address in (machine.ip, f"[{machine.ip6}]"):
        url, before = f"http://{address}:8080/", requests(machine)
        eventually(lambda at=url: machine.client.http_get(at).text == f"{word}\n", 20, url)  # type: ignore[misc]
        assert requests(machine) > before


def bindings(machine: Machine) -> list[dict[str, Any]]:
    """As `status` says, which may find something that needs a look."""
    text = machine.shell("envoy-docker-shim status --json || :")
    return list(json.loads(text)["bindings"]) if text else []


def states(machine: Machine) -> list[str]:
    return [binding["state"] for binding in bindings(machine)]


def network(machine: Machine) -> list[str]:
    """Who is there for clients outside, of each address that an Envoy has acknowledged."""
    return [binding["network"]["by"] for binding in bindings(machine) if binding["acknowledged_by"]]


def requests(machine: Machine) -> int:
    """How many requests the Envoy that runs now has had for the container."""
    pattern = r'^envoy_http_downstream_rq_total\{[^}]*prefix="c1-8080"\} (\d+)$'
    found = re.findall(pattern, statistics(machine), re.MULTILINE)
    return sum(map(int, found))


def main_pid(machine: Machine, unit: str) -> int:
    return int(machine.unit(unit, "MainPID")["MainPID"])


def test_units_run_from_boot_and_a_client_outside_is_served_by_envoy(
    machine: Machine, engine: Engine
) -> None:
    machine.reboot()
    served(machine)
    # The registrar may start ports, where dockerd gives them: it marks their lease pipes.
    pids = [str(binding["pid"]) for binding in bindings(machine)]
    pipes = [machine.run("stat", "--dereference", "--format=%a", f"/proc/{pid}/fd/6") for pid in pids]
    assert {mode.strip() for mode in pipes} == {"1600" if engine.name == "28" else "600"}
    assert machine.run("systemctl", "is-system-running").strip() == "running"
    for unit in (REGISTRAR, ENVOY, "docker.service"):
        found = machine.unit(unit, "ActiveState", "UnitFileState", "NRestarts", "Result")
        assert found == {
            "ActiveState": "active",
            "UnitFileState": "enabled",
            "NRestarts": "0",
            "Result": "success",
        }


def test_while_envoy_is_stopped_a_client_outside_gets_the_container(machine: Machine) -> None:
    machine.run("systemctl", "stop", "envoy")
    assert machine.client.http_get(f"http://{machine.ip}:8080/").text == "hello\n"
    # Docker's rules are for neither of these: the host's 127.0.0.1, and IPv6 for a container that has none.
    for place, address in ((machine.host, "127.0.0.1"), (machine.client, machine.ip6)):
        with pytest.raises(ConnectionRefusedError):
            place.connect(address, 8080)
    machine.run("systemctl", "start", "envoy")
    served(machine)


def test_an_envoy_in_a_container_is_as_good_as_the_unit(machine: Machine) -> None:
    """As examples/compose.yaml has it, but for its image, of which there is none here, and its ulimit."""
    (name, envoy), *_ = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"].items()
    options = ["--network", envoy["network_mode"], "--user", envoy["user"]]
    options += [f"--cap-drop={capability}" for capability in envoy["cap_drop"]]
    options += [f"--cap-add={capability}" for capability in envoy["cap_add"]]
    file, *directories = envoy["volumes"]
    options += [
        f"--volume=/etc/envoy-docker-shim/{file.removeprefix('./')}",
        *(f"-v{d}" for d in directories),
    ]
    options += [f"--volume={place}:{place}:ro" for place in ("/usr", "/lib", "/lib64")]
    machine.run("systemctl", "disable", "--now", "envoy")
    machine.put("/etc/envoy-docker-shim/envoy.yaml", machine.run("envoy-docker-shim", "bootstrap"))
    try:
        machine.docker(
            "run", "-d", f"--name={name}", *options, IMAGE, *envoy["entrypoint"], *envoy["command"]
        )
        served(machine)
        machine.run("systemctl", "restart", REGISTRAR)
        served(machine)
        # The boot: /run is empty, and Docker starts both.
        machine.docker("update", f"--restart={envoy['restart']}", name)
        machine.reboot()
        served(machine)
        machine.run("envoy-docker-shim", "status")
        assert machine.run("stat", "--format=%u", "/run/envoy/admin.sock").strip() == "0"
    finally:
        print(machine.docker("logs", name))
        machine.docker("rm", "--force", name)
        machine.run("systemctl", "enable", "--now", "envoy")
    served(machine)


def test_the_access_log_is_a_file_that_can_be_rotated_or_the_journal(machine: Machine) -> None:
    """Rotated as contrib/logrotate has it, by hand: moved, and then its own line is run."""
    file, config = "/var/log/envoy/access.log", "/etc/envoy-docker-shim.yaml"

    def logged(path: str) -> None:
        """That a request for this path is, once Envoy has been told to."""

        def lines() -> list[str]:
            machine.client.http_get(f"http://{machine.ip}:8080{path}")
            said = machine.run("envoy-docker-shim", "logs", "c1", "--json")
            return [line for line in said.splitlines() if path in line]

        line = eventually(lines, 20, f"{path} is logged", 0.2)[0]
        assert json.loads(line)["client.address"] == machine.client_ip

    def restarted(text: str) -> None:
        machine.put(config, text)
        machine.run("systemctl", "restart", REGISTRAR)

    try:
        restarted(f"access_log: {file}\n")
        logged("/to-the-file")
        assert machine.run("stat", "--format=%U %a", "/var/log/envoy", file).split() == [
            *("envoy", "750", "envoy", "600")
        ]
        (reopen,) = re.findall(r"postrotate\n *(.*)\n *endscript", LOGROTATE.read_text())
        machine.shell(f"mv {file} {file}.1\n{reopen}")
        logged("/to-the-next")
        assert "/to-the-next" not in machine.run("cat", f"{file}.1")
        restarted("access_log: stdout\n")
        logged("/to-the-journal")
        # A place that Envoy may not write to: it says so, and serves on as before.
        restarted("access_log: /root/access.log\n")
        eventually(lambda: "unable to open" in machine.shell("envoy-docker-shim status || :"), 20)
    finally:
        machine.run("rm", config)
        machine.run("systemctl", "restart", REGISTRAR)
    served(machine)


@pytest.mark.parametrize("how", ["restart", "kill --signal=KILL"])
def test_a_new_registrar_finds_the_shims(machine: Machine, how: str) -> None:
    before = main_pid(machine, REGISTRAR)
    machine.run("systemctl", *how.split(), REGISTRAR)
    eventually(lambda: main_pid(machine, REGISTRAR) not in {before, 0})
    eventually(lambda: states(machine) == ["serving", "serving"], what="both of the port's shims are known")
    served(machine)
    # And can end them: the port is free at once for the next.
    machine.docker("restart", "--time=0", "c1", timeout=15)
    eventually(lambda: states(machine) == ["serving", "serving"])
    served(machine)


@pytest.mark.parametrize("unit", EXPOSURE)
def test_a_unit_is_exposed_no_more_than_it_was(machine: Machine, unit: str) -> None:
    text = machine.run("systemd-analyze", "security", "--no-pager", unit)
    (level,) = re.findall(rf"Overall exposure level for {re.escape(unit)}: ([\d.]+)", text)
    assert float(level) <= EXPOSURE[unit], text


def test_each_unit_has_bounds_of_its_own(machine: Machine) -> None:
    bounds = ("MemoryMax", "TasksMax", "OOMPolicy")
    assert machine.unit(REGISTRAR, *bounds) == {
        "MemoryMax": str(256 << 20),
        "TasksMax": "64",
        "OOMPolicy": "kill",
    }
    assert machine.unit(ENVOY, *bounds) == {
        "MemoryMax": str(2 << 30),
        "TasksMax": "1024",
        "OOMPolicy": "kill",
    }


# Run in a unit's place: prints what each attempt came to, None or the error.
PROBE = """
import json, mmap, os, shutil, socket, subprocess, sys

def copied():
    for folder in PLACES:
        at = folder + "/copy"
        try:
            shutil.copy("/usr/bin/true", at)
        except OSError:
            continue
        try:
            os.waitpid(os.posix_spawn(at, [at], {}), 0)
            print("it may run", at)
            return
        except OSError:
            pass
        finally:
            os.unlink(at)
    raise OSError

def written():
    for folder in PLACES:
        if not any((folder + "/").startswith(mine + "/") for mine in MINE):
            try:
                open(folder + "/probe", "w").close()
                return print("it may write to", folder)
            except OSError:
                pass
    raise OSError

def chowned():
    at = os.environ.get("RUNTIME_DIRECTORY", "/tmp") + "/owned"
    open(at, "w").close()
    os.chown(at, 65534, 65534)
    os.unlink(at)

def asked(address):
    socket.create_connection((address, 9000), 2).close()

ATTEMPTS = {
    "nft": lambda: subprocess.run(["nft", "add", "table", "inet", "probe"], check=True),
    "chown": chowned,
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4).close(),
    "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close(),
    "loopback": lambda: asked("127.0.0.1"),
    "network": lambda: asked("CLIENT"),
    "run what was written": copied,
    "write and execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
    "write where others read": written,
    "Docker": lambda: socket.socket(socket.AF_UNIX).connect("/run/docker.sock"),
    "see pid 1": lambda: os.stat("/proc/1"),
    "/proc/sys": lambda: os.stat("/proc/sys"),
}
# The unit's own directories, as systemd says.
MINE = ["/tmp", "/var/tmp"]
MINE += filter(None, map(os.environ.get, ("RUNTIME_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY")))
MOUNTS = [line.split()[4] for line in open("/proc/self/mountinfo")]
PLACES = [*MINE, "/etc", "/usr/bin", "/run/docker", "/var/lib", "/home", *MOUNTS]
came_to = {}
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
        came_to[name] = True
    except (OSError, subprocess.SubprocessError) as error:
        came_to[name] = False
print("PROBE", json.dumps(came_to), flush=True)
"""


def probe(machine: Machine, unit: str, more: str = "") -> set[str]:
    """Which attempts succeed for a process that the unit, with a line more, starts beside its own."""
    machine.put("/usr/local/lib/probe.py", PROBE.replace("CLIENT", machine.client_ip))
    machine.put(
        f"/run/systemd/system/{unit}.d/probe.conf",
        f"[Service]\nExecStartPost=/usr/bin/python3 -IS /usr/local/lib/probe.py\n{more}\n",
    )
    machine.run("systemctl", "daemon-reload")
    try:
        machine.run("systemctl", "restart", unit)
    finally:
        machine.run("rm", "-r", f"/run/systemd/system/{unit}.d")
        machine.run("systemctl", "daemon-reload")
        machine.run("journalctl", "--sync")
        said = machine.journal()  # of all units: a short life may be over before it is told whose it was
        print("\n".join(line for line in said.splitlines() if " envoy[" not in line)[-3000:])
    came_to = json.loads(said.rpartition("PROBE ")[2].splitlines()[0])
    return {name for name, succeeded in came_to.items() if succeeded}


def test_the_units_may_do_what_they_need_and_little_else(machine: Machine) -> None:
    for place in (machine.client, machine.host):
        place.popen(["busybox", "nc", "-ll", "-p", "9000", "-e", "true"])
        eventually(lambda at=place: at.connect("127.0.0.1", 9000).close() is None)  # type: ignore[misc]
    may = {"nft", "chown", "netlink", "loopback", "Docker", "see pid 1"}
    assert probe(machine, REGISTRAR) == may
    # As the unit says of a Docker elsewhere.
    assert probe(machine, REGISTRAR, f"IPAddressAllow={machine.client_ip}") == may | {"network"}
    # Envoy goes wherever there are containers.
    assert probe(machine, ENVOY) == {"loopback", "network"}
    served(machine)
