"""The containers of the soak: which ports each publishes and how, and what runs in it.

Each container port says a word of its own, which names the container and the port, so that a client sees
who answered.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.harness.docker import IMAGE, container_python, python_container_args
from tests.harness.host import Host
from tests.soak.journal import Endpoint

# On one TCP and UDP port: says the word to whoever connects, and before what a datagram says.
BOTH = """
import socket, sys, threading
word, port = sys.argv[1].encode(), int(sys.argv[2])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", port))
def answer():
    while True:
        data, sender = udp.recvfrom(65535)
        udp.sendto(word + b" " + data, sender)
threading.Thread(target=answer, daemon=True).start()
tcp = socket.create_server(("", port), backlog=128)
while True:
    peer, _ = tcp.accept()
    with peer:
        peer.sendall(word + b"\\n")
"""

# $0 is the container's word, the arguments are ports.
HTTP = (
    'for port; do mkdir -p /www/$port; echo "$0:$port" >/www/$port/index.html;'
    " httpd -h /www/$port -p $port; done; exec sleep 1000000"
)
TCP = 'exec nc -ll -p "$1" -e echo "$0:$1"'


class Spec(NamedTuple):
    """``publish`` is for docker's -p; ``kind`` is what TCP clients speak."""

    name: str
    kind: str
    publish: tuple[str, ...]
    ports: tuple[int, ...]
    options: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}

    @property
    def fixed(self) -> bool:
        """Whether the host's ports are the same whenever it starts."""
        return all(":" in port for port in self.publish)

    @property
    def revives(self) -> bool:
        """Whether Docker starts it again when it ends by itself."""
        return "--restart=always" in self.options

    def arguments(self, word: str) -> list[str]:
        """For ``docker run -d`` or ``docker create``, after the container's name."""
        python = python_container_args() if self.kind == "both" else []
        labels = [f"--label={key}={value}" for key, value in self.labels.items()]
        published = [f"--publish={port}" for port in self.publish]
        options = ["--stop-signal=KILL", *published, *labels, *self.options, *python]
        return [*options, IMAGE, *self._command(word)]

    def _command(self, word: str) -> list[str]:
        ports = [str(port) for port in self.ports]
        if self.kind == "both":
            return [container_python(), "-c", BOTH, f"{word}:{ports[0]}", ports[0]]
        return ["sh", "-c", HTTP if self.kind == "http" else TCP, word, *ports]


# NetworkSettings.Ports of `docker inspect`: {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8100"}]}
Published = Mapping[str, list[Mapping[str, str]] | None]


def endpoints_of(spec: Spec, published: Published) -> dict[Endpoint, int]:
    """What clients may ask, and the container's port behind it."""
    found = {}
    for inner, address, port in flatten(published):
        number, proto = inner.split("/")
        kind = "udp" if proto == "udp" else "http" if spec.kind == "http" else "tcp"
        ip = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
        found[Endpoint(kind, ip, port)] = int(number)
    return found


def flatten(published: Published) -> Iterator[tuple[str, str, int]]:
    """(container port such as 80/tcp, host IP, host port)."""
    for inner, outers in published.items():
        for outer in outers or ():
            yield inner, outer["HostIp"], int(outer["HostPort"])


# The same name for two services on one port: their clusters must be told apart all the same.
TWIN = {"ServiceName": "twin", "EnvironmentName": "soak"}

SPECS = (
    Spec("web", "http", ("8100:80",), (80,), labels={"ServiceName": "web", "EnvironmentName": "soak"}),
    Spec("twin1", "http", ("127.0.0.1:8200:80",), (80,), labels=TWIN),
    Spec("twin2", "http", ("127.0.0.2:8200:80",), (80,), labels=TWIN),
    Spec("wire", "http", (f"{Host.ip}:8300:80", f"[{Host.ip6}]:8300:80"), (80,)),
    Spec("six", "http", ("[::1]:8400:80",), (80,), labels={"ServiceName": 'a "strange" näme\n'}),
    Spec("greeter", "tcp", ("8500:7",), (7,), labels={"ProxyMode": "tcp"}),
    Spec("both", "both", ("8600:7/udp", "8600:7/tcp"), (7,), labels={"ProxyMode": "tcp"}),
    Spec("localudp", "both", ("127.0.0.1:8650:7/udp",), (7,)),
    Spec("range", "http", ("127.0.0.1:8700-8703:80-83",), (80, 81, 82, 83)),
    Spec(
        "many", "http", tuple(f"127.0.0.1:{8800 + n}:{8000 + n}" for n in range(12)), tuple(range(8000, 8012))
    ),
    Spec("anywhere", "http", ("80", "81"), (80, 81)),
    Spec("revives", "http", ("127.0.0.1:8900:80",), (80,), ("--restart=always",)),
    Spec("greets", "tcp", ("127.0.0.3:8550:7", "127.0.0.1:8550:7"), (7,), labels={"ProxyMode": "tcp"}),
)
