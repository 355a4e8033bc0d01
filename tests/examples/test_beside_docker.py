"""What docs/networking.md says of Docker's own firewall rules and the registrar's table, on a dockerd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot
from tests.examples.documents import table_rows
from tests.harness.engines import Engine, which
from tests.harness.host import Host
from tests.harness.netns import Namespace, Place
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

PORT = 8080
URL = f"http://{Host.ip}:{PORT}/"


class Inside(Namespace):
    """A container's network, to ask from."""

    def __init__(self, stack: Stack, container: str) -> None:
        Place.__init__(self)
        self.name = container
        pid = stack.dockerd.api(f"/containers/{container}/json")["State"]["Pid"]
        self.path = Path(f"/proc/{pid}/ns/net")


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    """Docker's defaults, with a container that is published, and one that asks."""
    if which("nft") is None:
        cannot("no nft (Debian: nftables)")
    with Stack(artifact, engine, "--iptables=true", "--ip6tables=false", neighbour=True) as running:
        running.dockerd.run_http("hello", "-p", f"{PORT}:80", labels={"ServiceName": "web"})
        running.dockerd.run(name="asks")
        led_to_envoy(running)
        yield running


def led_to_envoy(stack: Stack) -> None:
    bindings = stack.registrar.bindings
    eventually(lambda: [b["network"]["by"] for b in bindings() if b["acknowledged_by"]] == ["envoy"] * 2)


@pytest.fixture
def without_envoy(stack: Stack) -> Iterator[None]:
    stack.envoy.stop()
    yield
    stack.envoy.start()
    led_to_envoy(stack)


def clients(stack: Stack) -> dict[str, tuple[Namespace, str]]:
    """The rows of the page, each with somebody who asks, and whom."""
    return {
        "on the network": (stack.host.neighbour, Host.ip),
        "on the network, by IPv6, where Docker has no rule for it": (stack.host.neighbour, Host.ip6),
        "on this host, asks the host's address": (stack.host, Host.ip),
        "on this host, asks 127.0.0.1 or ::1": (stack.host, "127.0.0.1"),
        "in a container, asks the host's address": (Inside(stack, "asks"), Host.ip),
    }


def answers(place: Namespace, address: str) -> bool:
    host = f"[{address}]" if ":" in address else address
    try:
        return place.http_get(f"http://{host}:{PORT}/", timeout=3).text == "hello\n"
    except ConnectionRefusedError:
        return False


def requests(stack: Stack) -> int:
    return sum(stack.envoy.stats(r"^http\.web-.*\.downstream_rq_total$").values())


def said(column: int) -> dict[str, str]:
    """Client -> the first word of what the page says of it."""
    rows = table_rows("docs/networking.md", "Beside Docker's rules")
    return {row[0]: row[column].replace(",", ":").partition(":")[0] for row in rows}


def test_while_envoy_is_there_it_serves_all_clients(stack: Stack) -> None:
    assert said(1) == dict.fromkeys(clients(stack), "Envoy")
    for place, address in clients(stack).values():
        before = requests(stack)
        assert answers(place, address)
        assert requests(stack) == before + 1


@pytest.mark.usefixtures("without_envoy")
def test_while_envoy_is_away_it_is_as_the_page_says(stack: Stack) -> None:
    for client, (place, address) in clients(stack).items():
        if said(2)[client] == "the container":
            eventually(lambda at=place, to=address: answers(at, to), 5, client)  # type: ignore[misc]
        else:
            assert said(2)[client] == "refused"
            assert not answers(place, address), client


# What comes from the network is dropped, but for what the rule that is put in accepts.
FIREWALL = """
table inet firewall {
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "eth0" meta l4proto tcp jump ports
  }
  chain ports {
    %s
    drop
  }
}
"""


def load(host: Host, rule: str) -> None:
    """The host's firewall, anew."""
    script = f"add table inet firewall\ndelete table inet firewall\n{FIREWALL % rule}"
    host.run("nft", "-f", "-", stdin=script.encode())


def test_input_decides_while_envoy_is_there_and_not_while_it_is_away(stack: Stack) -> None:
    neighbour = stack.host.neighbour
    load(stack.host, "")
    try:
        with pytest.raises(TimeoutError):
            neighbour.connect(Host.ip, PORT, timeout=1)
        stack.envoy.stop()
        assert neighbour.http_get(URL).text == "hello\n"
        stack.envoy.start()
        led_to_envoy(stack)
        commands = {row[0]: row[1].split("`")[1] for row in table_rows("docs/networking.md", "Opening ports")}
        load(stack.host, commands["nftables"])
        assert neighbour.http_get(URL).text == "hello\n"
    finally:
        stack.host.run("nft", "delete", "table", "inet", "firewall")


def test_docker_user_sees_ports_only_while_envoy_is_away(stack: Stack) -> None:
    rule = ("DOCKER-USER", "-i", "eth0", "-j", "DROP")
    stack.host.run("iptables", "-I", *rule)
    try:
        assert stack.host.neighbour.http_get(URL).text == "hello\n"
        stack.envoy.stop()
        with pytest.raises(TimeoutError):
            stack.host.neighbour.connect(Host.ip, PORT, timeout=1)
        stack.envoy.start()
        led_to_envoy(stack)
    finally:
        stack.host.run("iptables", "-D", *rule)
