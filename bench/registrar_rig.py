"""A real registrar in a throw-away place, with everything around it that is not to be measured.

Shims are pairs of real pipes whose shim's ends this process holds; Docker is a fake one on a real socket;
an Envoy is a thread that polls as Envoy does, as fast as it can (a real one takes longer, and its own time
is not the registrar's).
"""

import json
import math
import os
import select
import socket
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench.processes import open_files_to_the_limit
from tests.harness.fake_dockerd import FakeDockerd, body, make_container, start_event
from tests.harness.netns import Place
from tests.harness.registrar import LoopbackRegistrar, Registrar
from tests.harness.wait import eventually

TIMEOUT = 60.0
# As Envoy 1.40's own polls: a list of its extensions makes up nearly all of them.
EXTENSIONS = [
    {
        "name": f"envoy.filters.network.some_extension_{number}",
        "category": "envoy.filters.network",
        "type_urls": [f"envoy.extensions.filters.network.some_extension_{number}.v3.SomeExtension"],
    }
    for number in range(400)
]


class Docker:
    """The fake dockerd, in a thread of its own.  ``listed_at``: when its last list answer left."""

    def __init__(self, path: str) -> None:
        self.listed_at = 0.0
        self._fake = FakeDockerd(path)
        self._fake.on_list = self._list
        self._token: trio.lowlevel.TrioToken
        ready = threading.Event()
        threading.Thread(target=trio.run, args=(self._run, ready), daemon=True).start()
        ready.wait(TIMEOUT)

    async def _run(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._fake.serve)
            ready.set()

    async def _list(self, stream: trio.SocketStream) -> None:
        answer = body(json.dumps(self._fake.containers).encode())
        self.listed_at = time.monotonic()
        await answer(stream)

    def listed_since(self, moment: float) -> bool:
        return self.listed_at > moment

    def start(self, containers: list[dict[str, Any]]) -> None:
        """These run from now on, and are the only ones: one event, and the list that it leads to."""
        eventually(self._fake.subscribers, TIMEOUT, "the registrar follows Docker")
        self._fake.containers = containers
        event = start_event(containers[0]["Id"])
        trio.from_thread.run(self._fake.emit, event, trio_token=self._token)


class Shim:
    """One registered port: the shim's own ends of its two pipes."""

    def __init__(self, registrar: str, host: tuple[str, int], backend: tuple[str, int]) -> None:
        lease, self._lease = os.pipe()
        self._wake, wake = os.pipe()
        words = ["register", "-proto", "tcp", "-host-ip", host[0], "-host-port", str(host[1])]
        words += ["-container-ip", backend[0], "-container-port", str(backend[1])]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(registrar)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [lease, wake]))]
            sock.sendmsg(["\0".join(words).encode() + b"\n"], rights)
            answer = sock.recv(100)
        os.close(lease)
        os.close(wake)
        if answer != b"ok\n":
            raise RuntimeError(f"registration of {host}: {answer!r}")

    def release(self) -> None:
        os.write(self._lease, b"release\n")

    def wait_for_exit(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        told = b""
        # An empty line comes a second after the start, for a shell that may have slept through a signal.
        while not told.endswith(b"exit\n"):
            text = os.read(self._wake, 100) if poll.poll(TIMEOUT * 1000) else b""
            if not text:
                raise RuntimeError(f"a released shim was not told to end, but {told!r}")
            told += text

    def be_silent(self) -> None:
        """It is only there from now on: one descriptor less of ours."""
        os.close(self._wake)
        self._wake = -1

    def end(self) -> None:
        os.close(self._lease)
        if self._wake >= 0:
            os.close(self._wake)


class Answer:
    """A discovery answer: when its first and last byte were there, and when it was accepted."""

    def __init__(self, first: float, last: float, size: int) -> None:
        self.first, self.last, self.size = first, last, size
        self.accepted = math.inf


class Poller(threading.Thread):
    """One of an Envoy's two long polls.  It accepts every answer, and asks again at once."""

    def __init__(self, place: Place, port: int, node: str, kind: str) -> None:
        super().__init__(daemon=True)
        self.answers: list[Answer] = []
        self._news = threading.Condition()
        self._sock = place.call(socket.create_connection, ("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        question = {"version_info": "VERSION", "node": {"id": node, "extensions": EXTENSIONS}}
        self._question = json.dumps(question)
        self._path = f"/v3/discovery:{kind}"
        self._buffer = bytearray(1 << 20)

    def run(self) -> None:
        version, answer = "", Answer(0.0, 0.0, 0)
        while True:
            question = self._question.replace("VERSION", version)
            head = f"POST {self._path} HTTP/1.1\r\nhost: registrar\r\ncontent-length: {len(question)}\r\n\r\n"
            answer.accepted = time.monotonic()
            try:
                self._sock.sendall((head + question).encode())
                received = self._receive()
            except OSError:
                return
            if received is not None:
                answer, version = received
                with self._news:
                    self.answers.append(answer)
                    self._news.notify_all()

    def _receive(self) -> tuple[Answer, str] | None:
        """An answer and its version, or None where there is nothing new."""
        size = self._sock.recv_into(self._buffer)
        first = time.monotonic()
        start = bytes(self._buffer[: min(size, 4096)])
        if not start:
            raise ConnectionError("closed")
        if start.startswith(b"HTTP/1.1 304"):
            return None
        while b"version_info" not in start:
            start += self._sock.recv(65536)
            size = len(start)
        head, _, text = start.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while size < len(head) + 4 + length:
            size += self._sock.recv_into(self._buffer)
        answer = Answer(first, time.monotonic(), length)
        return answer, text.partition(b'"version_info":"')[2].partition(b'"')[0].decode()

    def next(self, count: int) -> Answer:
        """The answer after the first ``count`` ones."""
        with self._news:
            if not self._news.wait_for(lambda: len(self.answers) > count, TIMEOUT):
                raise RuntimeError("no discovery answer came")
            return self.answers[count]

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self.join()


class Rig:
    """A registrar with shims, pollers and a Docker.  Every container has an address of its own.

    ``network`` is the first half of the addresses on which ports are published.
    """

    def __init__(self, registrar: Registrar, docker: Docker, pid: int, network: str = "127.77") -> None:
        self.registrar, self.docker, self.pid, self.network = registrar, docker, pid, network
        self.shims: list[Shim] = []
        self.pollers: dict[str, list[Poller]] = {"clusters": [], "listeners": []}
        self._made = 0

    def register(self, ports: int = 1, families: int = 1) -> tuple[list[Shim], dict[str, Any]]:
        """One container more, whose shims come one after the other, as dockerd starts them."""
        number, self._made = self._made, self._made + 1
        ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        # No two on one port: they would be told apart by their backends, which is another case.
        first, host = 10_000 + number % 20_000, f"{self.network}.{number // 20_000}.1"
        shims = [
            Shim(str(self.registrar.socket), (address, port), (ip, 80 + port - first))
            for port in range(first, first + ports)
            for address in (host, "::1")[:families]
        ]
        self.shims += shims
        published = tuple(("tcp", port) for port in range(first, first + ports))
        labels = {"ServiceName": f"service-{number}", "EnvironmentName": "production"}
        name, identity = f"service-{number}-1", f"{number:064x}"
        return shims, make_container(name, (ip,), published, identity, labels)

    def fill(self, count: int) -> None:
        """Up to ``count`` bindings, and wait until they are out.  Containers do not come all at once."""
        while missing := count - len(self.shims):
            containers = []
            for _ in range(min(missing, 100)):
                [shim], container = self.register()
                shim.be_silent()
                containers.append(container)
            began = time.monotonic()
            self.docker.start(containers)
            eventually(partial(self.docker.listed_since, began), TIMEOUT, "Docker is asked")
        eventually(lambda: self.published() == count, TIMEOUT, f"{count} bindings are published")

    def published(self) -> int:
        text = self.registrar.read("/bindings").body
        return text.count(b'"state": "published"') + text.count(b'"state": "serving"')

    def connect(self, envoys: int) -> None:
        """So many Envoys; returns once they have everything."""
        for number in range(envoys):
            for kind, pollers in self.pollers.items():
                pollers.append(Poller(self.registrar.place, self.registrar.api, f"envoy-{number}", kind))
                pollers[-1].start()
                pollers[-1].next(0)

    def counts(self, kind: str) -> list[int]:
        return [len(poller.answers) for poller in self.pollers[kind]]

    def next(self, kind: str, counts: list[int]) -> list[Answer]:
        return [poller.next(count) for poller, count in zip(self.pollers[kind], counts, strict=True)]

    def cpu(self) -> float:
        """Seconds of CPU that the registrar has used."""
        return cpu_of(self.pid)

    def all_acknowledged(self) -> bool:
        return all(
            envoy[kind]["current"]
            for envoy in json.loads(self.registrar.read("/status").body)["envoys"]
            for kind in ("clusters", "listeners")
        )

    def rss(self) -> float:
        """MB, as it is now."""
        return int(self._status("VmRSS")) / 1024

    def private(self) -> float:
        """MB that are no other process's, as those of a port are counted."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024

    def wake_ups(self) -> int:
        return int(self._status("voluntary_ctxt_switches"))

    def _status(self, field: str) -> str:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return text.partition(f"\n{field}:")[2].split()[0]


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process's threads have used."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def rig(artifact: Path) -> Iterator[Rig]:
    open_files_to_the_limit()
    with tempfile.TemporaryDirectory() as directory:
        registrar = LoopbackRegistrar(artifact, Path(directory))
        docker = Docker(f"{directory}/docker.sock")
        with registrar.running() as process:
            registrar.wait_until_healthy()
            made = Rig(registrar, docker, process.pid)
            try:
                yield made
            finally:
                for pollers in made.pollers.values():
                    for poller in pollers:
                        poller.close()
                for shim in made.shims:
                    shim.end()
