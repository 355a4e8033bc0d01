"""Debian's own servers, each published by one `docker run` without any label, and their clients."""

import re
import time

import pytest

from tests.conftest import or_cannot
from tests.harness import postgres, services
from tests.harness.host import Host
from tests.harness.netns import CommandError
from tests.harness.services import Service
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean", "packages")]

WAIT = 0.2  # what a client of mode auto pays that is silent
START = 30.0  # what a server may take until it listens, on a busy machine (seconds)
# Published on -> the server, the container's port, its mode and who chose it.
SERVED = {
    9001: ("cache", services.REDIS, 6379, ("auto", "default")),
    9002: ("sql", services.MARIADB, 3306, ("tcp", "port")),
    9003: ("web", services.NGINX, 80, ("auto", "default")),
    9004: ("shell", services.SSHD_SERVER, 22, ("tcp", "port")),
    9005: ("mail", services.EXIM, 25, ("tcp", "port")),
}
POSTGRES = 9006


@pytest.fixture(scope="module")
def packages() -> None:
    or_cannot(services.tree)
    or_cannot(postgres.tree)


def answers(stack: Stack, service: Service, port: int) -> bool:
    return services.ask(stack.host.neighbour, service, Host.ip, port) == service.answer


def test_each_works_without_any_label_and_status_tells_how_it_was_decided(stack: Stack) -> None:
    for port, (name, service, inside, _) in SERVED.items():
        services.run(stack.dockerd, service, f"-p{port}:{inside}", name=name)
    postgres.run(stack.dockerd, f"-p{POSTGRES}:5432", rules="host all all all trust", name="base")
    for port, (name, service, _, decided) in SERVED.items():
        eventually(lambda s=service, p=port: answers(stack, s, p), START, f"{name}'s client")  # type: ignore[misc]
        binding = stack.binding(port)
        assert (binding["mode"], binding["mode_by"]) == decided, name
    neighbour, question = stack.host.neighbour, "select 'hello'"
    eventually(lambda: postgres.ask(neighbour, Host.ip, POSTGRES, question) == "hello", START, "psql")
    status = stack.registrar.command("status")
    shown = {line.split()[1]: line.split()[2:4] for line in status.stdout.splitlines() if "0.0.0.0:" in line}
    for port, (*_, decided) in SERVED.items():
        assert tuple(shown[f"tcp/0.0.0.0:{port}"]) == decided
    assert tuple(shown[f"tcp/0.0.0.0:{POSTGRES}"]) == ("auto", "default")
    # HTTP is counted as HTTP, and all else as connections.
    text = stack.envoy.admin("/stats/prometheus?usedonly")
    answered = re.findall(
        r'envoy_http_downstream_rq_xx\{envoy_response_code_class="2",envoy_http_conn_manager_prefix="([^"]+)"',
        text,
    )
    assert set(answered) - {"admin"} == {"web-9003"}
    passed = set(re.findall(r'envoy_tcp_downstream_cx_total\{envoy_tcp_prefix="([^"]+)"\}', text))
    assert passed == {"cache-9001", "sql-9002", "shell-9004", "mail-9005", f"base-{POSTGRES}"}


def greeted(stack: Stack, port: int) -> float:
    """How long a server's greeting takes (seconds); it is MariaDB's, with its version in it."""
    began = time.monotonic()
    with stack.host.neighbour.connect(Host.ip, port) as peer:
        assert b"MariaDB" in peer.recv(200)
        return time.monotonic() - began


def test_a_database_on_a_port_of_its_own_waits_once_and_never_again(stack: Stack) -> None:
    def asked(port: int) -> bool:
        try:
            return answers(stack, services.MARIADB, port)
        except CommandError:
            return False

    services.run(stack.dockerd, services.MARIADB, "-p9010:4406", "--env=PORT=4406", name="odd")
    assert stack.binding(9010)["mode"] == "auto"
    eventually(lambda: asked(9010), START, "MariaDB's client")
    eventually(lambda: stack.binding(9010)["mode_by"] == "seen", 10, "it was seen to speak first")
    assert min(greeted(stack, 9010) for _ in range(3)) < WAIT
    # The next one is known by its image and port.
    services.run(stack.dockerd, services.MARIADB, "-p9011:4406", "--env=PORT=4406", name="odd2")
    eventually(lambda: asked(9011), START, "MariaDB's client")
    assert stack.binding(9011)["mode_by"] == "seen"
    assert min(greeted(stack, 9011) for _ in range(3)) < WAIT
