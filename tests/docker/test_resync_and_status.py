"""The commands beside the registrar, on a host with containers; and who may register at all."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.harness.envoy import binary
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

NOBODY = 65534


@pytest.fixture
def no_registrar(stack: Stack) -> Iterator[None]:
    """The stack's own registrar is stopped for the test."""
    stack.registrar.end()
    yield
    stack.registrar.start()


@pytest.fixture
def blind_registrar(stack: Stack, no_registrar: None) -> Iterator[None]:
    """One in a pid namespace of its own, as in a container: it cannot look for shims, and knows none."""
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    process = stack.registrar.launch(prefix=unshare)
    stack.registrar.wait_until_healthy()
    yield
    process.kill()
    process.wait(10)
    eventually(lambda: not connectable(stack), 10, "it is gone")


def connectable(stack: Stack) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(stack.registrar.socket)) == 0


def run(stack: Stack, command: str, *args: str) -> subprocess.CompletedProcess[str]:
    return stack.registrar.command(command, *args, check=False)


def refused(stack: Stack, port: int) -> bool:
    try:
        stack.host.connect("127.0.0.1", port).close()
    except ConnectionRefusedError:
        return True
    return False


# -- resync --------------------------------------------------------------------------------------------


def test_resync_restores_what_a_registrar_lost_and_cannot_find_by_itself(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    container = stack.dockerd.run_http(
        "kept", "-p", "8200:80", "-p", "127.0.0.1:8201:80/udp", labels={"ServiceName": "web"}
    )
    other = stack.dockerd.run_http("other", "-p", "[::1]:8202:80")
    stack.get(8200)
    request.getfixturevalue("blind_registrar")
    assert stack.registrar.bindings() == []

    done = run(stack, "resync")
    *lines, summary = done.stdout.splitlines()
    assert done.returncode == 0, done
    assert summary == "4 shims found: 4 restored, 0 known already, 0 failed"
    found = sorted(line.split(" (process ")[0] for line in lines)
    assert [line.split(" -> ")[0] for line in found] == [
        "restored  tcp/0.0.0.0:8200",
        "restored  tcp/[::1]:8202",
        "restored  tcp/[::]:8200",
        "restored  udp/127.0.0.1:8201",
    ]
    assert stack.get(8200).text == "kept\n"
    assert stack.get(8202, "::1").text == "other\n"
    assert stack.binding(8200)["cluster"] == "web-8200"

    again = run(stack, "resync")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (
        0,
        "4 shims found: 0 restored, 4 known already, 0 failed",
    )
    stack.dockerd.docker("rm", "--force", container)
    assert refused(stack, 8200)
    assert [b["port"] for b in stack.registrar.bindings()] == [8202]
    stack.dockerd.docker("rm", "--force", other)
    assert stack.registrar.bindings() == []


@pytest.mark.usefixtures("blind_registrar")
def test_resync_takes_no_shim_twice_that_registered_from_another_pid_namespace(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "127.0.0.1:8203:80")
    assert stack.get(8203).text == "hello\n"
    done = run(stack, "resync")
    assert done.stdout.splitlines()[-1] == "1 shim found: 0 restored, 1 known already, 0 failed"
    assert len(stack.registrar.bindings()) == 1


def test_resync_changes_nothing_where_all_is_known(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8204:80")
    stack.get(8204)
    stack.binding(8204)
    before = stack.registrar.bindings()
    done = run(stack, "resync")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "2 shims found: 0 restored, 2 known already, 0 failed"
    assert stack.registrar.bindings() == before


def test_resync_on_a_host_without_containers_finds_none_and_is_content(stack: Stack) -> None:
    done = run(stack, "resync")
    assert (done.returncode, done.stdout) == (0, "0 shims found: 0 restored, 0 known already, 0 failed\n")


@pytest.mark.usefixtures("no_registrar")
@pytest.mark.parametrize("containers", [0, 1])
def test_resync_without_a_registrar_fails_and_says_so(stack: Stack, containers: int) -> None:
    for _ in range(containers):
        stack.dockerd.run("-p", "127.0.0.1:8205:80")
    done = run(stack, "resync")
    assert done.returncode == 1
    assert f"no registrar on {stack.registrar.socket}" in done.stdout + done.stderr
    found = f"{containers} shim{'s'[: containers != 1]} found"
    assert f"{found}: 0 restored, 0 known already, {containers} failed" in done.stdout


# -- status --------------------------------------------------------------------------------------------


def test_status_shows_people_what_is_served_by_whom(stack: Stack) -> None:
    labels = {"ServiceName": "web", "EnvironmentName": "dev"}
    stack.dockerd.run_http("hello", "-p", "127.0.0.1:8210:80", name="front", labels=labels)
    stack.dockerd.run("-p", "[::1]:8211:53/udp", name="names")
    stack.get(8210)
    stack.binding(8210)
    done = run(stack, "status")
    assert done.returncode == 0, done
    head, first, second, _, registrar, envoy = done.stdout.splitlines()
    assert head.split()[:6] == ["STATE", "ADDRESS", "MODE", "BY", "NETWORK", "SERVICE"]
    place = ["serving", "tcp/127.0.0.1:8210", "auto", "default", "nobody"]
    assert first.split()[:8] == [*place, "web", "dev", "front"]
    assert second.split()[:5] == ["serving", "udp/[::1]:8211", "udp", "-", "nobody"]
    assert "Docker reachable" in registrar
    assert envoy.startswith("Envoy ") and "NOT current" not in envoy


def test_status_tells_programs_the_same(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "127.0.0.1:8212:80", name="front")
    stack.get(8212)
    stack.binding(8212)
    done = run(stack, "status", "--json")
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    (binding,) = report["bindings"]
    assert (binding["address"], binding["port"], binding["container"]) == ("127.0.0.1", 8212, "front")
    assert binding["backend"] == f"{stack.address_of('front')}:80"
    (envoy,) = report["envoys"]
    assert binding["acknowledged_by"] == [envoy["node"]]
    assert f"/{envoy['version']}/" in subprocess.check_output([binary(), "--version"], text=True)
    assert envoy["listeners"] == {"acknowledged": report["versions"]["listeners"], "current": True}
    assert report["docker"]["reachable"] is True
    assert report["problems"] == report["unknown_shims"] == []


def test_status_ends_with_1_where_no_envoy_is_connected(stack: Stack) -> None:
    stack.envoy.stop()
    try:
        eventually(lambda: run(stack, "status").returncode == 1, 5, "it ends with 1")
        assert "! no Envoy is connected" in run(stack, "status").stdout
    finally:
        stack.envoy.start()
    eventually(lambda: run(stack, "status").returncode == 0, 5, "all is well again")


def test_status_ends_with_1_where_a_label_is_wrong(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8213:80", labels={"ProxyMode": "htpt"})
    stack.get(8213)
    done = run(stack, "status")
    assert done.returncode == 1
    assert "! tcp/0.0.0.0:8213" in done.stdout and "htpt" in done.stdout


@pytest.mark.usefixtures("no_registrar")
def test_status_without_a_registrar_fails_and_says_so(stack: Stack) -> None:
    done = run(stack, "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the registrar does not answer on 127.0.0.1:7776" in done.stderr


def test_status_points_at_shims_that_the_registrar_does_not_know(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    stack.dockerd.run_http("hello", "-p", "127.0.0.1:8214:80")
    (pid,) = stack.dockerd.proxies()
    request.getfixturevalue("blind_registrar")
    report = json.loads(run(stack, "status", "--json").stdout)
    (unknown,) = report["unknown_shims"]
    assert unknown["pid"] == pid
    assert any("run resync" in problem for problem in report["problems"])
    assert run(stack, "resync").returncode == 0
    assert json.loads(run(stack, "status", "--json").stdout)["unknown_shims"] == []


# -- the registration socket ---------------------------------------------------------------------------

REGISTER_AS = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
registrar = socket.socket(socket.AF_UNIX)
registrar.settimeout(10)
registrar.connect(sys.argv[1])
flags = "-proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 192.0.2.1 -container-port 80"
line = "\\0".join(["register", *flags.split()]).encode() + b"\\n"
try:
    socket.send_fds(registrar, [line], [*os.pipe()])
except BrokenPipeError:
    pass  # refused before anything was said
print(registrar.recv(1000).decode())
"""


def register_as(stack: Stack, user: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", REGISTER_AS, str(stack.registrar.socket), str(user)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


def test_another_user_cannot_reach_the_socket(stack: Stack) -> None:
    assert stack.registrar.socket.stat().st_mode & 0o777 == 0o600
    done = register_as(stack, NOBODY)
    assert done.returncode == 1 and "PermissionError" in done.stderr
    assert stack.registrar.bindings() == []


def test_another_user_who_reaches_the_socket_is_refused_by_what_the_kernel_says_of_him(stack: Stack) -> None:
    stack.registrar.socket.chmod(0o666)
    try:
        done = register_as(stack, NOBODY)
    finally:
        stack.registrar.socket.chmod(0o600)
    assert done.stdout.startswith(f"refused user {NOBODY} may not register ports"), done
    assert stack.registrar.bindings() == []
