"""A host with a client on its wire, a container behind a bridge, and rules that imitate Docker's.

    with Lab() as lab, Answering(lab.host, "envoy", "0.0.0.0", 8080), RunningFirewall(lab) as firewall:
        firewall.apply(Table(frozenset([Served("0.0.0.0", 8080)]), local=True))
        assert lab.ask(lab.client, lab.host.ip, 8080).who == "envoy"

Nothing of Docker is needed; what listens is a thread, and says who it is.
"""

import contextlib
import json
import os
import socket
import threading
from typing import NamedTuple

import trio

from shim.core.firewall.table import Table
from shim.registrar.firewall.keeper import Firewall, Status
from shim.registrar.firewall.programs import Programs
from tests.harness.engines import which
from tests.harness.host import Host
from tests.harness.netns import Namespace, run, tool_env

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
BRIDGE, BRIDGE6 = "172.17.0.1", "fd00:17::1"
CONTAINER, CONTAINER6 = "172.17.0.2", "fd00:17::2"
SECOND, SECOND6 = "10.203.0.3", "fd00:203::3"  # the host's other addresses
PORT, CONTAINER_PORT = 8080, 80

# As Docker does: from outside by PREROUTING, from this host by OUTPUT, but for loopback.
DOCKER = f"""
table inet like_docker {{
  chain prerouting {{ type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump docker
  }}
  chain output {{ type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local jump docker
    ip6 daddr != ::1 fib daddr type local jump docker
  }}
  chain docker {{
    tcp dport {PORT} meta nfproto ipv4 dnat ip to {CONTAINER}:{CONTAINER_PORT}
    tcp dport {PORT} meta nfproto ipv6 dnat ip6 to [{CONTAINER6}]:{CONTAINER_PORT}
  }}
  chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
    ip saddr {CONTAINER} ip daddr {CONTAINER} masquerade
  }}
}}
"""


class Answer(NamedTuple):
    """What a listener said of itself and of its client."""

    who: str
    local: tuple[str, int]
    peer: tuple[str, int]


class Lab:
    def __init__(self) -> None:
        self.host = Host(neighbour=True)
        self._inside: list[Namespace] = []
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.host.close()
        for namespace in self._inside:
            run(["ip", "netns", "delete", namespace.name], env=tool_env())

    @property
    def client(self) -> Namespace:
        return self.host.neighbour

    @property
    def container(self) -> Namespace:
        return self._inside[0]

    def load(self, script: str) -> None:
        self.host.run("nft", "-f", "-", stdin=script.encode())

    def ruleset(self) -> str:
        return self.host.run("nft", "list", "ruleset")

    def ask(self, source: Namespace, ip: str, port: int = PORT, *, timeout: float = 3.0) -> Answer:
        with source.connect(ip, port, timeout=timeout) as sock, sock.makefile() as stream:
            return parse(stream.readline())

    def programs(self) -> Programs:
        """`nft` and `ip` on this host: trio starts programs from threads that are elsewhere."""
        path = self.host.dir / "programs"
        path.mkdir(exist_ok=True)
        for name in ("nft", "ip"):
            script = path / name
            script.write_text(f'#!/bin/sh\nexec nsenter --net={self.host.path} -- {which(name)} "$@"\n')
            script.chmod(0o755)
        return Programs(f"{path}:{os.environ['PATH']}")

    def _build(self) -> None:
        host = self.host
        host.run("ip", "address", "add", f"{SECOND}/24", "dev", "eth0")
        host.run("ip", "address", "add", f"{SECOND6}/64", "dev", "eth0", "nodad")
        host.run("ip", "link", "add", "docker0", "type", "bridge")
        host.run("ip", "address", "add", f"{BRIDGE}/16", "dev", "docker0")
        host.run("ip", "address", "add", f"{BRIDGE6}/64", "dev", "docker0", "nodad")
        host.run("ip", "link", "set", "docker0", "up")
        self._inside.append(Namespace(f"{host.name}-c"))
        ends = ("type", "veth", "peer", "name", "eth0", "netns", self.container.name)
        host.run("ip", "link", "add", "veth0", *ends)
        host.run("ip", "link", "set", "veth0", "master", "docker0", "up")
        inside = self.container
        inside.run("ip", "address", "add", f"{CONTAINER}/16", "dev", "eth0")
        inside.run("ip", "address", "add", f"{CONTAINER6}/64", "dev", "eth0", "nodad")
        inside.run("ip", "link", "set", "eth0", "up")
        inside.run("ip", "route", "add", "default", "via", BRIDGE)
        inside.run("ip", "route", "add", "default", "via", BRIDGE6)
        forwarding = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
        host.run("sh", "-c", "; ".join(f"echo 1 >/proc/sys/{name}" for name in forwarding))
        # The client finds the containers' network, as the default route of a real one would lead it astray.
        self.client.run("ip", "route", "add", "172.17.0.0/16", "via", host.ip)
        self.client.run("ip", "route", "add", "fd00:17::/64", "via", host.ip6)
        self.load(DOCKER)


class Answering:
    """Listens, tells each client in one line of JSON who it met, and closes."""

    def __init__(
        self, machine: Namespace, who: str, ip: str, port: int = PORT, *, transparent: bool = False
    ) -> None:
        self._who = who
        self._listener = machine.socket(_family(ip), timeout=None)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in ip:
            self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            make_transparent(self._listener)
        self._listener.bind((ip, port))
        self._listener.listen(512)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """From now on nobody listens there."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def answer(self, peer: socket.socket) -> bytes:
        here, there = peer.getsockname()[:2], peer.getpeername()[:2]
        return json.dumps([self._who, here, there]).encode() + b"\n"

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.sendall(self.answer(peer))


class Relaying(Answering):
    """Asks the container from the client's own address, and hands on what that says."""

    def __init__(self, machine: Namespace, ip: str, port: int) -> None:
        self._machine = machine
        super().__init__(machine, "relay", ip, port, transparent=True)

    def answer(self, peer: socket.socket) -> bytes:
        client = peer.getpeername()[0]
        backend = CONTAINER6 if ":" in client else CONTAINER
        with self._machine.socket(_family(client)) as sock:
            make_transparent(sock)
            sock.bind((client, 0))
            sock.connect((backend, CONTAINER_PORT))
            with sock.makefile("rb") as stream:
                return stream.readline()


class RunningFirewall:
    """The registrar's task on a thread of its own, on the lab's host."""

    def __init__(self, lab: Lab, programs: Programs | None = None) -> None:
        self.settled: list[int] = []
        self.firewall = Firewall(programs or lab.programs(), on_settled=self.settled.append)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lab.host.call, args=(trio.run, self._serve), daemon=True)

    def __enter__(self) -> "RunningFirewall":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join(10)

    @property
    def status(self) -> Status:
        return trio.from_thread.run_sync(lambda: self.firewall.status, trio_token=self._token)

    def apply(self, *tables: Table | None, timeout: float = 10.0) -> bool:
        """Want them one after the other at once; whether the last is what the kernel has then."""
        return trio.from_thread.run(self._apply, tables, timeout, trio_token=self._token)

    async def _apply(self, tables: tuple[Table | None, ...], timeout: float) -> bool:
        generations = [self.firewall.want(table) for table in tables]
        return await self.firewall.settled(generations[-1], timeout)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self.firewall.run)
            self._ready.set()
            await trio.sleep_forever()


def parse(line: str) -> Answer:
    if not line:
        raise ConnectionError("closed without an answer")
    who, local, peer = json.loads(line)
    return Answer(who, (local[0], local[1]), (peer[0], peer[1]))


def make_transparent(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)


def _family(ip: str) -> int:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET
