"""Spoofed sources by the ten thousand at a host's published UDP ports.

Each source is a client to the relay, and needs a port of its own towards the container.  The host keeps
ports for its other programs (DNS!), clients who are served stay so, and new ones come in.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import spoofer
from tests.harness.docker import container_python, python_container_args
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.proxy import flags, start_proxy
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.alone, pytest.mark.docker]

PORTS = [9100, 9101, 9102, 9103]
SOURCES = 40_000  # a host has 28,232 ephemeral ports
# Datagrams a second: all sources come while the first is still remembered, and the relays keep up.
RATE = 6_000
ENOUGH = 20  # times that each of the others does something in the flood
TRIES, PATIENCE = 5, 1.0  # of a client, as a resolver has them
FORGOTTEN = 20  # seconds after which what a spoofed source has cost is free again

# Answers everybody, or everybody but the spoofed sources, as a service does that knows who is genuine.
BACKEND = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((sys.argv[1], int(sys.argv[2])))
    while True:
        data, sender = sock.recvfrom(65535)
        if sys.argv[3] == "all" or data != {spoofer.PAYLOAD!r}:
            sock.sendto(data, sender)
"""


class Watch(threading.Thread):
    """Does one thing over and over on a thread of its own, and keeps what went wrong."""

    def __init__(self, what: Callable[[], object], pause: float) -> None:
        super().__init__(daemon=True)
        self._what, self._pause = what, pause
        self._over = threading.Event()
        self.done = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(self._pause):
            try:
                self._what()
            except OSError as error:
                self.failures.append(f"at {self.done}: {error!r}")
            self.done += 1


def ask(sock: socket.socket, question: bytes) -> None:
    """A datagram, sent again where no answer comes.  Raises TimeoutError."""
    for _ in range(TRIES):
        sock.send(question)
        try:
            while sock.recv(100) != question:  # an answer to an earlier one
                pass
            return
        except TimeoutError:
            pass
    raise TimeoutError(f"no answer to {question!r} in {TRIES} tries")


class Attack:
    """A host with published UDP ports, and everybody who has to do with them."""

    def __init__(self, host: Host) -> None:
        self.host = host
        # Where the sources are, so that neither direction is dropped for want of a route.
        host.run("ip", "route", "replace", str(spoofer.SOURCES), "via", host.neighbour_ip)

    def use_a_port(self) -> None:
        """As any other program on the host does: connect, and bind to any port."""
        for _ in range(5):
            with self.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((Host.neighbour_ip, 53))
            with self.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("", 0))

    def newcomer(self) -> None:
        """A client that nobody has seen before, at each of the ports."""
        for port in PORTS:
            with self.client(port) as sock:
                ask(sock, b"new here")

    def client(self, port: int) -> socket.socket:
        sock = self.host.neighbour.socket(socket.AF_INET, socket.SOCK_DGRAM, timeout=PATIENCE)
        sock.connect((Host.ip, port))
        return sock

    def ports_in_use(self) -> int:
        lines = self.host.call(Path("/proc/thread-self/net/sockstat").read_text).splitlines()
        return next(int(line.split()[2]) for line in lines if line.startswith("UDP:"))

    def run(self, *, answered: bool) -> None:
        """Flood, and see that nobody else notices.  ``answered``: so are the sources, and kept for longer."""
        before = self.ports_in_use()
        with contextlib.ExitStack() as stack:
            old = [stack.enter_context(self.client(port)) for port in PORTS]
            numbers = itertools.count()

            def regulars() -> None:
                for sock in old:
                    ask(sock, b"regular %d" % next(numbers))

            for _ in range(3):
                regulars()
            watches = {
                "another program": stack.enter_context(Watch(self.use_a_port, 0.005)),
                "served clients": stack.enter_context(Watch(regulars, 0.05)),
                "new clients": stack.enter_context(Watch(self.newcomer, 0.1)),
            }
            with self.flooding() as whole_round:
                whole_round()
                flooded = self.ports_in_use()
                eventually(
                    lambda: all(watch.done >= ENOUGH or watch.failures for watch in watches.values()),
                    120,
                    "enough was tried",
                )
            failed = {name: len(watch.failures) for name, watch in watches.items()}
            print(f"\nUDP ports: {before} before, {flooded} in the flood; failures in it: {failed}")
            forgotten = self.forgotten(before) if not answered else None
        found = {name: (watch.done, len(watch.failures)) for name, watch in watches.items()}
        print(f"times done, and failed: {found}; ports given back after: {forgotten}")
        assert {name: watch.failures[:3] for name, watch in watches.items()} == {name: [] for name in watches}
        assert answered or (forgotten is not None and forgotten < FORGOTTEN)

    def forgotten(self, before: int) -> float | None:
        """Seconds until the sources' ports are free again: the clients of the test have some, too."""
        begun = time.monotonic()
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.ports_in_use() < before + 2_000, FORGOTTEN, interval=0.1)
            return time.monotonic() - begun
        return None

    @contextlib.contextmanager
    def flooding(self) -> Iterator[Callable[[], None]]:
        """Gives what waits until each source has sent."""
        command = [sys.executable, spoofer.__file__, Host.ip, ",".join(map(str, PORTS)), SOURCES, RATE]
        process = self.host.neighbour.popen(list(map(str, command)), stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"flooding\n"

        def whole_round() -> None:
            assert process.stdout is not None and process.stdout.readline() == b"round\n"

        try:
            yield whole_round
        finally:
            process.kill()
            process.wait(10)


@pytest.mark.parametrize("who", ["all", "the genuine"])
def test_spoofed_sources_leave_the_host_its_ports(artifact: Path, who: str) -> None:
    """The built file as dockerd starts it, with nobody else on the host."""
    with Host(neighbour=True) as host, contextlib.ExitStack() as stack:
        backend = ("127.0.0.2", 7)
        host.popen([sys.executable, "-c", BACKEND, backend[0], str(backend[1]), who])
        for port in PORTS:
            command = flags("udp", ("0.0.0.0", port), backend)
            stack.enter_context(host.call(start_proxy, artifact, command))
        eventually(lambda: host.udp_ask(Host.ip, PORTS[0], b"up?") == b"up?", 20, "the backend answers")
        Attack(host).run(answered=who == "all")


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine, neighbour=True) as running:
        yield running


@pytest.mark.envoy
def test_spoofed_sources_at_containers_leave_the_host_its_ports(stack: Stack) -> None:
    published = [arg for port in PORTS for arg in ("-p", f"{port}:7/udp")]
    command = [container_python(), "-c", BACKEND, "0.0.0.0", "7", "the genuine"]
    stack.dockerd.run(*python_container_args(), *published, cmd=command)
    eventually(lambda: stack.host.udp_ask(Host.ip, PORTS[0], b"up?") == b"up?", 20, "the container answers")
    Attack(stack.host).run(answered=False)
