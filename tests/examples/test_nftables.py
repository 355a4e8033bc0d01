"""The nftables lines of docs/networking.md, on a real dockerd: egress and isolation are back."""

import sys

import pytest

from tests.conftest import cannot
from tests.examples.documents import blocks
from tests.harness.docker import Dockerd, container_python
from tests.harness.engines import which
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]


FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode().strip())"
SERVE = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(("::", int(sys.argv[2])), Handler).serve_forever()
"""


def fetch(dockerd: Dockerd, container: str, url: str) -> str:
    """What a container gets from there within 2 s, or an empty text."""
    try:
        return dockerd.exec(container, container_python(), "-c", FETCH, url)
    except AssertionError:
        return ""


def test_the_nftables_lines_give_egress_and_isolation_back(stack: Stack) -> None:
    if which("nft") is None:
        cannot("no nft (Debian: nftables)")
    host, dockerd = stack.host, stack.dockerd
    dockerd.docker("network", "create", "two")
    serve = ("-c", SERVE)
    one = dockerd.run_python(*serve, "one", "80", options=["-p", "8080:80"])
    two = dockerd.run_python(*serve, "two", "80", options=["-p", "8081:80", "--network=two"], name="two")
    beside = dockerd.run_python(
        "-c", "import time; time.sleep(1e6)", options=["--network=two"], name="beside"
    )
    host.neighbour.popen([sys.executable, "-c", SERVE, "world", "9000"])
    eventually(lambda: host.http_get(f"http://{host.neighbour_ip}:9000/").text == "world")
    assert stack.get(8080, host.ip, source=host.neighbour).text == "one"
    assert stack.get(8081, host.ip6, source=host.neighbour).text == "two"
    world = f"http://{host.neighbour_ip}:9000/"
    world6 = f"http://[{host.neighbour_ip6}]:9000/"

    # Without the lines.
    assert fetch(dockerd, one, world) == fetch(dockerd, one, world6) == ""
    assert fetch(dockerd, one, f"http://{dockerd.ip(two)}/") == "two"

    (lines,) = blocks("nft", "docs/networking.md")
    for _ in range(2):  # loading them once more does no harm
        host.run("nft", "-f", "-", stdin=lines.encode())
    assert fetch(dockerd, one, world) == fetch(dockerd, one, world6) == "world"
    assert fetch(dockerd, two, world) == "world"
    # One network is a network still, whatever the bridge hands to the firewall; two are apart.
    for bridged in ("0", "1"):
        host.run("sh", "-c", f"echo {bridged} | tee /proc/sys/net/bridge/bridge-nf-call-ip*tables || :")
        assert fetch(dockerd, beside, "http://two/") == "two"
        assert fetch(dockerd, one, f"http://{dockerd.ip(two)}/") == ""
        # Published ports are reached by all, containers of other networks included.
        assert fetch(dockerd, one, f"http://{host.ip}:8081/") == "two"
        assert stack.get(8080, host.ip6, source=host.neighbour).text == "one"
    # Nobody walks in past Envoy.
    host.neighbour.run("ip", "route", "add", "172.16.0.0/12", "via", host.ip)
    with pytest.raises(TimeoutError):
        host.neighbour.connect(dockerd.ip(one), 80, timeout=1)

    # Published ports come in by INPUT: the host's firewall decides.
    firewall = b"""
        table inet firewall {
          chain input {
            type filter hook input priority filter
            iifname "eth0" tcp dport 8080 drop
          }
        }
    """
    host.run("nft", "-f", "-", stdin=firewall)
    with pytest.raises(TimeoutError):
        host.neighbour.connect(host.ip, 8080, timeout=1)
    assert stack.get(8081, host.ip, source=host.neighbour).text == "two"
