"""Mode auto with real engines: a container that speaks first is found out once, whatever restarts then."""

import time
from collections.abc import Iterator

import pytest

from tests.harness.host import Host
from tests.harness.netns import Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

WAIT = 0.2  # what a client pays that waits for its container, the first time
# Envoy counts from its event loop's clock, which stands still while the loop works (0.1988 s was seen).
CLOCK = 0.01
GREETS = ["sh", "-c", 'exec nc -ll -p "$0" -e sh -c "echo hello; cat"']
AUTO = {"ProxyMode": "auto"}


class Client:
    """One that waits for the greeting, as those of MySQL or SMTP do; ``took`` is how long (seconds)."""

    def __init__(self, source: Namespace, port: int, address: str = Host.ip) -> None:
        began = time.monotonic()
        self.peer = source.connect(address, port)
        self.peer.settimeout(10)
        assert self.peer.recv(6) == b"hello\n"
        self.took = time.monotonic() - began

    def talk(self) -> "Client":
        self.peer.sendall(b"x")
        assert self.peer.recv(1) == b"x"
        return self


@pytest.fixture
def peers() -> Iterator[list[Client]]:
    made: list[Client] = []
    yield made
    for client in made:
        client.peer.close()


def greets(stack: Stack, port: int, *options: str, inside: int = 4000) -> None:
    """A container that speaks first on a port of no known service; returns once it can be asked."""
    name = f"greets-{port}"
    stack.dockerd.run("-p", f"{port}:{inside}", *options, cmd=[*GREETS, str(inside)], name=name, labels=AUTO)
    stack.binding(port)
    eventually(lambda: f":{inside} " in stack.dockerd.exec(name, "netstat", "-ltn"), 10, "it listens")


def is_bytes(stack: Stack, port: int) -> bool:
    binding = stack.binding(port)
    return (binding["mode"], binding["mode_by"]) == ("tcp", "seen")


def test_the_wait_is_seen_once_and_never_again(stack: Stack, peers: list[Client]) -> None:
    neighbour = stack.host.neighbour
    greets(stack, 8050)
    assert (stack.binding(8050)["mode"], stack.binding(8050)["mode_by"]) == ("auto", "label")
    early = Client(neighbour, 8050).talk()
    peers.append(early)
    assert early.took > WAIT - CLOCK
    eventually(lambda: is_bytes(stack, 8050), 10, "the port is served as bytes")
    assert "speak first on port 4000" in stack.registrar.log.read_text()
    later = [Client(neighbour, 8050).talk() for _ in range(5)]
    peers += later
    assert max(client.took for client in later) < WAIT
    early.talk()  # who was there before is there still
    # Another container of the image, a restarted registrar, a restarted Envoy: nobody waits again.
    greets(stack, 8051)
    assert is_bytes(stack, 8051)
    before = stack.envoy.admin("/config_dump?resource=dynamic_listeners&mask=name,active_state.listener")
    stack.registrar.end()
    stack.registrar.start()
    stack.binding(8051)
    after = stack.envoy.admin("/config_dump?resource=dynamic_listeners&mask=name,active_state.listener")
    assert after == before, "no listener is another one than before"
    early.talk()
    stack.envoy.stop()
    stack.envoy.start()
    for port in (8050, 8051):
        assert is_bytes(stack, port)
        last = Client(neighbour, port).talk()
        peers.append(last)
        assert last.took < WAIT


def test_nobody_is_refused_or_cut_off_while_a_port_changes_to_bytes(
    stack: Stack, peers: list[Client]
) -> None:
    """Clients keep coming, from the network and from the host, before, while and after."""
    neighbour = stack.host.neighbour
    greets(stack, 8052, "--label", "ClientAddress=keep", inside=4001)
    assert stack.binding(8052)["mode"] == "auto"
    deadline, changed = time.monotonic() + 20, False
    while time.monotonic() < deadline and not changed:
        changed = is_bytes(stack, 8052)
        for _ in range(10):
            peers.append(Client(neighbour, 8052).talk())
            peers.append(Client(stack.host, 8052, "127.0.0.1").talk())
    assert changed
    assert max(client.took for client in peers[-10:]) < WAIT
    for client in peers:
        client.talk()


def test_known_ports_are_bytes_at_once_and_a_label_has_the_last_word(stack: Stack) -> None:
    stack.dockerd.run("-p", "8053:22", name="known", labels=AUTO)
    stack.dockerd.run("-p", "8054:22", name="told", labels={"ProxyMode": "http"})
    assert (stack.binding(8053)["mode"], stack.binding(8053)["mode_by"]) == ("tcp", "port")
    assert (stack.binding(8054)["mode"], stack.binding(8054)["mode_by"]) == ("http", "label")
    status = stack.registrar.command("status").stdout
    assert " tcp " in status and " port " in status and " label " in status


def test_silent_clients_do_not_turn_a_server_of_http_into_bytes(stack: Stack) -> None:
    """As health checks, scanners and browsers' preconnects are: for as long as the registrar would look."""
    stack.dockerd.run_http("hello", "-p", "8055:80", labels=AUTO)
    stack.binding(8055)
    for _ in range(3):
        with stack.host.connect("127.0.0.1", 8055) as silent:
            silent.settimeout(0.6)
            with pytest.raises(TimeoutError):
                silent.recv(1)
    assert stack.get(8055).text == "hello\n"
    assert stack.binding(8055)["mode"] == "auto"
    counted = stack.envoy.stats(r"listener\..*8055.*downstream_pre_cx_timeout$")
    assert sum(counted.values()) == 3
