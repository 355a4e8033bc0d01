"""A registrar that is not root: what works, what is lost, and what brings it back."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.harness.registrar import HostRegistrar
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

NOBODY = 65534


class Unprivileged(HostRegistrar):
    """Of a user of its own, that may use Docker's socket and has these capabilities."""

    capabilities: Sequence[str] = ()
    start_timeout = 30.0

    def start(self) -> None:
        caps = ",".join(f"+{name}" for name in self.capabilities)
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
        become += [f"--inh-caps={caps}", f"--ambient-caps={caps}"] if caps else []
        # Its interpreter and its libraries must not be in root's home.
        env = {"PATH": "/usr/bin:/bin", "HOME": "/", "SHIV_ROOT": str(self.socket.parent)}
        self.launch(prefix=become, env=env)
        self.wait_until_healthy()


@pytest.fixture(scope="module")
def stack(artifact: Path) -> Iterator[Stack]:
    """With one engine: what is different here is between shims and registrar."""
    stack = Stack(artifact)
    own = stack.host.dir / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    stack.registrar = registrar = Unprivileged(stack.host, artifact, stack.dockerd.docker_host, {})
    registrar.socket = own / "registrar.sock"
    registrar.env["SHIM_SOCKET"] = stack.dockerd.env["SHIM_SOCKET"] = str(registrar.socket)
    with stack:
        docker_socket = Path(stack.dockerd.docker_host.removeprefix("unix://"))
        os.chown(docker_socket, 0, NOBODY)
        docker_socket.chmod(0o660)
        eventually(lambda: "Docker is reachable" in registrar.log.read_text(), 10, "it reads Docker's API")
        yield stack


@pytest.fixture
def container(stack: Stack) -> Iterator[int]:
    stack.dockerd.run_http("hello", "-p", "8080:80", name="c1", labels={"ServiceName": "web"})
    yield 8080
    stack.dockerd.docker("rm", "--force", "c1")


def resync(stack: Stack) -> "subprocess.CompletedProcess[str]":
    return stack.registrar.command("resync", check=False)


def test_what_root_starts_is_registered_labelled_served_and_released(stack: Stack, container: int) -> None:
    assert stack.registrar.socket.stat().st_uid == NOBODY
    assert stack.registrar.socket.stat().st_mode & 0o777 == 0o600
    assert stack.binding(container)["service"] == "web"
    for _ in range(3):
        stack.dockerd.docker("restart", "-t", "0", "c1")
        assert stack.get(container).text == "hello\n"


@pytest.mark.parametrize(
    ("capabilities", "found"),
    [
        ((), False),
        # It may look at the shims then; their pipes are root's all the same.
        (("sys_ptrace",), False),
        (("sys_ptrace", "dac_override"), True),
    ],
)
def test_after_a_restart_it_needs_resync_unless_it_may_do_nearly_what_root_may(
    stack: Stack, container: int, monkeypatch: pytest.MonkeyPatch, capabilities: tuple[str, ...], found: bool
) -> None:
    stack.binding(container)
    removed = listeners_removed(stack)
    monkeypatch.setattr(Unprivileged, "capabilities", capabilities)
    stack.registrar.end()
    stack.registrar.start()
    assert len(stack.registrar.bindings()) == (2 if found else 0)
    # No listener goes: Envoy is left waiting for what is known only then.
    done = resync(stack)
    assert done.returncode == 0, done
    assert f"{0 if found else 2} restored" in done.stdout
    assert stack.binding(container)["service"] == "web"
    assert stack.get(container).text == "hello\n"
    assert listeners_removed(stack) == removed


def listeners_removed(stack: Stack) -> int:
    name = "listener_manager.listener_removed"
    return stack.envoy.stats(name)[name]
