"""How containers' labels decide what their ports are: http or tcp, named after whom, on which addresses."""

import contextlib
import threading
from collections.abc import Sequence

import pytest

from tests.harness import clients
from tests.harness.backends import parse_headers
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

# What is published on -> where that is reached, and where it is not.
ADDRESSES = {
    "0.0.0.0": (("127.0.0.1", "127.0.0.9", Host.ip), ("::1", Host.ip6)),
    "::": (("::1", Host.ip6), ("127.0.0.1", Host.ip)),
    "127.0.0.5": (("127.0.0.5",), ("127.0.0.1", Host.ip, "::1")),
    "::1": (("::1",), (Host.ip6, "127.0.0.1")),
}
PORTS = dict(zip(ADDRESSES, range(8001, 8001 + len(ADDRESSES)), strict=True))


def publish_everywhere(container_port: int) -> list[str]:
    published = []
    for address, port in PORTS.items():
        host = f"[{address}]" if ":" in address else address
        published += ["-p", f"{host}:{port}:{container_port}"]
    return published


def nobody_serves(stack: Stack, addresses: Sequence[str], port: int) -> None:
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            stack.host.connect(address, port)


def echoes(stack: Stack, address: str, port: int) -> bool:
    with stack.host.connect(address, port) as peer:
        peer.sendall(b"\0not HTTP\n")
        return peer.recv(100) == b"\0not HTTP\n"


def test_http_mode_serves_each_kind_of_host_address_and_no_other(stack: Stack) -> None:
    stack.dockerd.run_http("hello", *publish_everywhere(80), labels={"ProxyMode": "http"})
    for published, (reached, not_reached) in ADDRESSES.items():
        port = PORTS[published]
        for address in reached:
            assert stack.get(port, address).text == "hello\n"
        nobody_serves(stack, not_reached, port)
        binding = stack.binding(port)
        assert (binding["address"], binding["mode"]) == (published, "http")


def test_tcp_mode_serves_each_kind_of_host_address_and_no_other(stack: Stack) -> None:
    stack.dockerd.run_tcp_echo(*publish_everywhere(7), labels={"ProxyMode": "tcp"})
    for published, (reached, not_reached) in ADDRESSES.items():
        port = PORTS[published]
        for address in reached:
            eventually(lambda at=(address, port): echoes(stack, *at), 10, f"{address}:{port} echoes")  # type: ignore[misc]
        nobody_serves(stack, not_reached, port)
        binding = stack.binding(port)
        assert (binding["address"], binding["mode"]) == (published, "tcp")


def run_backend(stack: Stack, kind: str, port: int) -> None:
    serve = ("-m", "tests.harness.backends", kind, "80", "0.0.0.0")
    stack.dockerd.run_python(*serve, options=["-p", f"{port}:80"], name=f"{kind}-backend")


def test_a_websocket_passes_http_mode_and_carries_any_bytes(stack: Stack) -> None:
    run_backend(stack, "http", 8010)
    assert stack.get(8010).status == 200
    upgrade = clients.head("GET", "/chat", ["Upgrade: websocket", "Connection: Upgrade"])
    with stack.host.connect("127.0.0.1", 8010) as peer, peer.makefile("rb") as stream:
        peer.sendall(upgrade)
        answer = clients.read_answer(stream)
        assert (answer.status, answer.headers["upgrade"]) == (101, "websocket")
        data = bytes(range(256))
        peer.sendall(data)
        assert stream.read(len(data)) == data


def test_http_mode_tells_a_backend_who_its_client_is(stack: Stack) -> None:
    run_backend(stack, "http", 8011)
    seen = stack.get(8011, Host.ip, source=stack.host.neighbour).body
    assert parse_headers(seen)["x-forwarded-for"] == Host.neighbour_ip


def test_grpc_over_h2c_passes_http_mode_with_its_trailers(stack: Stack) -> None:
    run_backend(stack, "h2c", 8012)
    call = [
        *((":method", "POST"), (":scheme", "http"), (":path", "/Service/Call"), (":authority", "x")),
        *(("content-type", "application/grpc"), ("te", "trailers")),
    ]

    def ask() -> clients.H2Answer | None:
        answer = stack.host.call(clients.h2_exchange, ("127.0.0.1", 8012), call, b"\0\0\0\0\2hi")
        # Before the container listens Envoy itself says 200, as gRPC has it, with grpc-status 14.
        return answer if answer.trailers else None

    answer = eventually(ask, 10, "an answer over h2c")
    assert answer is not None
    assert (dict(answer.headers)[":status"], answer.body) == ("200", b"\0\0\0\0\2hi")
    assert dict(answer.trailers)["grpc-status"] == "0"


def test_a_container_without_labels_is_served_in_mode_auto_under_its_own_name(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8020:80", name="plain.one")
    assert stack.get(8020).text == "hello\n"
    binding = stack.binding(8020)
    assert (binding["service"], binding["environment"], binding["mode"]) == ("plain.one", "", "auto")
    # A dot would break the labels on Envoy's Prometheus page.
    assert binding["cluster"] == "plain_one-8020"
    assert binding["problem"] == ""


def test_a_compose_service_is_named_after_its_service_and_project(stack: Stack) -> None:
    labels = {"com.docker.compose.service": "web", "com.docker.compose.project": "shop"}
    stack.dockerd.run_http("hello", "-p", "8021:80", name="shop_web_1", labels=labels)
    assert stack.get(8021).text == "hello\n"
    binding = stack.binding(8021)
    assert (binding["service"], binding["environment"]) == ("web", "shop")
    assert binding["cluster"] == "web-shop-8021"
    assert binding["container"] == "shop_web_1"


def test_our_labels_count_more_than_composes(stack: Stack) -> None:
    labels = {
        "com.docker.compose.service": "web",
        "com.docker.compose.project": "shop",
        "ServiceName": "front",
        "EnvironmentName": "prod",
    }
    stack.dockerd.run_http("hello", "-p", "8022:80", labels=labels)
    assert stack.binding(8022)["cluster"] == "front-prod-8022"


def test_an_unknown_proxy_mode_is_shown_as_a_problem_and_served_in_mode_auto(stack: Stack) -> None:
    stack.dockerd.run_http("hello", "-p", "8023:80", labels={"ProxyMode": "htpt"})
    assert stack.get(8023).text == "hello\n"
    binding = stack.binding(8023)
    assert binding["mode"] == "auto"
    assert "htpt" in binding["problem"]


def test_labels_that_are_no_names_spoil_neither_their_port_nor_the_others(stack: Stack) -> None:
    odd = {"ServiceName": '%REQ(x)% "\\ö\n{}' + "x" * 300, "EnvironmentName": "../.."}
    stack.dockerd.run_http("odd", "-p", "8024:80", labels=odd)
    stack.dockerd.run_http("even", "-p", "8025:80")
    assert stack.get(8024).text == "odd\n"
    assert stack.get(8025).text == "even\n"


def test_two_containers_started_at_the_same_moment_get_their_own_ports_and_labels(stack: Stack) -> None:
    together = threading.Barrier(2)

    def start(name: str, mode: str, first: int) -> None:
        labels = {"ServiceName": name, "EnvironmentName": "dev", "ProxyMode": mode}
        together.wait(10)
        stack.dockerd.run_http(name, "-p", f"{first}:80", "-p", f"{first + 1}:80", labels=labels)

    wanted = {"one": ("http", 8030), "two": ("tcp", 8040)}
    threads = [threading.Thread(target=start, args=(name, *rest)) for name, rest in wanted.items()]
    with contextlib.ExitStack() as stack_of_joins:
        for thread in threads:
            thread.start()
            stack_of_joins.callback(thread.join, 60)
    for name, (mode, first) in wanted.items():
        for port in (first, first + 1):
            assert stack.get(port).text == f"{name}\n"
            binding = stack.binding(port)
            assert (binding["cluster"], binding["mode"]) == (f"{name}-dev-{port}", mode)


def test_two_ports_of_a_container_are_served_each_in_its_own_way(stack: Stack) -> None:
    labels = {"ServiceName": "shop", "ProxyMode": "http", "ProxyMode.7/tcp": "tcp", "ServiceName.7": "echo"}
    both = "nc -ll -p 7 -e cat & echo hello >/www/index.html && exec httpd -f -h /www"
    stack.dockerd.run(
        "-p", "8050:80", "-p", "8051:7", cmd=["sh", "-c", both], labels={**labels, "ProxyMode.81": "tcp"}
    )
    assert stack.get(8050).text == "hello\n"
    eventually(lambda: echoes(stack, "127.0.0.1", 8051), 10, "the echo answers")
    web, echo = stack.binding(8050), stack.binding(8051)
    assert (web["mode"], web["cluster"]) == ("http", "shop-8050")
    assert (echo["mode"], echo["cluster"]) == ("tcp", "echo-8051")
    status = stack.registrar.command("status", check=False)
    (line,) = [line for line in status.stdout.splitlines() if "ProxyMode.81" in line]
    assert status.returncode == 1 and "there: 7/tcp, 80/tcp" in line
