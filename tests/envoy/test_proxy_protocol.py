"""ClientAddress=proxy-protocol on a real Envoy, to Debian's nginx and haproxy: they know every client."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from shim.core.envoy import modes
from shim.core.envoy.filters import HttpOptions
from tests.builders import make_cluster, make_listener
from tests.conftest import or_cannot
from tests.envoy.serving import LOOPBACK, static_bootstrap
from tests.harness.backends import ThreadedServer
from tests.harness.clients import Address, head, read_answer
from tests.harness.debian import environment, unpacked
from tests.harness.envoy import Envoy
from tests.harness.registrar import free_ports
from tests.harness.wait import eventually

pytestmark = pytest.mark.envoy

# Each says the client's address and port, and those that the client asked, as the header has them.
NGINX = """
daemon off; master_process off; user root; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    set $client "$proxy_protocol_addr $proxy_protocol_port";
    set $asked "$proxy_protocol_server_addr $proxy_protocol_server_port";
    return 200 "$client $asked $http_x_forwarded_for";
  }}
}}
"""
HAPROXY = """
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend all
  bind 127.0.0.1:{port} accept-proxy
  http-request set-var(txn.forwarded) req.fhdr(x-forwarded-for)
  http-request return status 200 content-type text/plain lf-string "{said} %[var(txn.forwarded)]"
"""
SAID = "%[src] %[src_port] %[dst] %[dst_port]"
COMMANDS = {"nginx": (NGINX, ("-e", "stderr", "-c")), "haproxy": (HAPROXY, ("-db", "-f"))}
VERSIONS = (1, 2)
MODES = [name for name, mode in modes.MODES.items() if mode.takes_network]
CLIENTS = {"v4": ("127.0.0.1", "127.0.0.9"), "v6": ("::1", "::1")}


class Served(NamedTuple):
    envoy: Envoy
    at: dict[str, Address]


@contextmanager
def server(tree: Path, name: str, directory: Path, port: int) -> Iterator[None]:
    text, arguments = COMMANDS[name]
    config = directory / f"{name}.conf"
    config.write_text(text.format(dir=directory, port=port, said=SAID))
    with (directory / f"{name}.out").open("wb") as log:
        process = subprocess.Popen(
            [tree / "usr/sbin" / name, *arguments, config],
            env=environment(tree),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        eventually(lambda: listens(port) or process.poll() is not None, 10, f"{name} listens")
        assert process.poll() is None, Path(log.name).read_text()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    tree = or_cannot(unpacked, *COMMANDS)
    directory = tmp_path_factory.mktemp("servers")
    ports = dict(zip(COMMANDS, free_ports(2), strict=True))
    clusters, listeners = [], []
    for name, port in ports.items():
        for version in VERSIONS:
            for mode in MODES:
                cluster = f"{name}-{mode}-{version}"
                clusters.append(make_cluster(mode, cluster, LOOPBACK, port, version))
                listeners += [
                    make_listener(mode, f"{cluster}-{family}", ip, 0, cluster, cluster)
                    for family, (ip, _) in CLIENTS.items()
                ]
    trusting = HttpOptions(trusted_hops=1)
    listeners.append(make_listener("http", "behind", LOOPBACK, 0, "b", "nginx-http-1", options=trusting))
    with ExitStack() as stack:
        for name, port in ports.items():
            stack.enter_context(server(tree, name, directory, port))
        envoy = stack.enter_context(Envoy(directory, static_bootstrap(listeners, clusters)))
        yield Served(envoy, envoy.listeners())


def ask(address: Address, source: str, *fields: str, times: int = 1) -> tuple[str, list[str]]:
    """What the server should say, and what it does say, each time on the same connection."""
    with socket.create_connection(address, 10, (source, 0)) as peer, peer.makefile("rb") as stream:
        said = []
        for _ in range(times):
            peer.sendall(head("GET", "/", fields))
            said.append(read_answer(stream).body.decode())
        (ip, port), (to, to_port) = peer.getsockname()[:2], peer.getpeername()[:2]
        return f"{ip} {port} {to} {to_port}", said


@pytest.mark.parametrize("family", CLIENTS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_told_the_client_and_whom_the_client_asked(
    served: Served, name: str, version: int, mode: str, family: str
) -> None:
    address = served.at[f"{name}-{mode}-{version}-{family}"]
    ip, source = CLIENTS[family]
    wanted, said = ask(address, source, times=3)
    assert [answer.rpartition(" ")[0] for answer in said] == [wanted] * 3
    # Another client right after it, which could be given a connection of the first one's.
    again, answered = ask(address, ip)
    assert again != wanted and answered[0].startswith(again)


def test_two_clients_at_once_are_told_apart_in_http_mode(served: Served) -> None:
    address = served.at["nginx-http-1-v4"]
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(20)]
        for _ in range(3):
            for peer in peers:
                peer.sendall(head("GET", "/"))
            for peer in peers:
                said = read_answer(peer.makefile("rb")).body.decode()
                assert said.startswith(f"127.0.0.1 {peer.getsockname()[1]} ")


@pytest.mark.parametrize("listener", ["nginx-http-1-v4", "behind"])
def test_it_is_the_connections_client_whatever_headers_say(served: Served, listener: str) -> None:
    wanted, said = ask(served.at[listener], "127.0.0.9", "X-Forwarded-For: 192.0.2.1")
    assert said == [f"{wanted} 192.0.2.1,127.0.0.9"]


def test_the_servers_take_nobody_without_the_header(served: Served) -> None:
    """Else the tests above would show nothing."""
    clusters = served.envoy.admin("/clusters")
    for name in COMMANDS:
        found = re.search(rf"^{name}-tcp-1::127.0.0.1:(\d+)::", clusters, re.MULTILINE)
        assert found
        with pytest.raises((OSError, AssertionError)):
            _, said = ask((LOOPBACK, int(found[1])), LOOPBACK)
            assert "127.0.0.1" in said[0]


def test_envoy_is_well_and_keeps_no_connection_of_a_client_that_has_gone(served: Served) -> None:
    for _ in range(50):
        ask(served.at["haproxy-http-2-v4"], LOOPBACK)
    served.envoy.wait_for(lambda: open_connections(served.envoy) == 0)
    assert served.envoy.admin("/ready").strip() == "LIVE"
    assert re.findall(r".*\[(?:warning|error|critical)\].*", served.envoy.log.read_text()) == []


def open_connections(envoy: Envoy) -> int:
    return sum(envoy.stats(r"^cluster\.(nginx|haproxy).*\.upstream_cx_active$").values())


class Greeter(ThreadedServer):
    """Speaks first, and says what it was told: the header's line."""

    def serve(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as stream:
            peer.sendall(b"220 " + stream.readline())
            peer.recv(1)


def test_a_server_that_speaks_first_is_told_before_the_client_says_anything(tmp_path: Path) -> None:
    with Greeter(LOOPBACK) as greeter:
        cluster = make_cluster("tcp", "greeter", *greeter.address, 1)
        boot = static_bootstrap([make_listener("tcp", "greeter", LOOPBACK, 0, "g", "greeter")], [cluster])
        with Envoy(tmp_path, boot) as envoy:
            address = envoy.listeners()["greeter"]
            with socket.create_connection(address, 10) as peer, peer.makefile("rb") as stream:
                port = peer.getsockname()[1]
                assert (
                    stream.readline().decode()
                    == f"220 PROXY TCP4 127.0.0.1 127.0.0.1 {port} {address[1]}\r\n"
                )
