"""One client for each endpoint: asks as long as a container is to answer there, and a while longer.

What comes back is compared with what the endpoint's container says.  Where nobody is to answer, a refused
connection is the right answer.
"""

import errno
import itertools
import socket
from collections import Counter
from collections.abc import Callable

import trio

from tests.soak.journal import Endpoint, Journal, Miss, Outage

# Seconds between two questions: when all is well, after a failure, and where nobody is to answer.
PACE, PACE_FAILED, PACE_VACANT = 0.25, 0.05, 0.5
TIMEOUT = 5.0
PATIENCE_UDP = 1.0
# A client stays so long after the last container has left its endpoint.
LINGER = 3.0
# Questions from one UDP client before the next is another one, from another port.
UDP_CLIENT_LIFE = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n"

Answer = tuple[str, str | None]  # outcome, and the word of whoever answered


class Clients:
    """``phase`` says what is away at the moment, for the counts of good answers."""

    def __init__(self, journal: Journal, nursery: trio.Nursery, phase: Callable[[], str]) -> None:
        self.good: Counter[str] = Counter()  # by endpoint's kind
        self.good_while: Counter[str] = Counter()  # by phase
        self.refused = 0  # rightly
        self.misses: list[Miss] = []
        self.outages: list[Outage] = []
        self._journal = journal
        self._nursery = nursery
        self._phase = phase
        self._asked: set[Endpoint] = set()

    def watch(self, endpoint: Endpoint) -> None:
        if endpoint not in self._asked:
            self._asked.add(endpoint)
            self._nursery.start_soon(self._client, endpoint)

    async def _client(self, endpoint: Endpoint) -> None:
        udp = UdpClient(endpoint)
        failing_since = None
        last_seen = trio.current_time()
        try:
            while trio.current_time() - last_seen < LINGER:
                phase, began = self._phase(), trio.current_time()
                outcome, word = await (udp.ask() if endpoint.kind == "udp" else ask_tcp(endpoint))
                wanted, now = self._journal.tenant(endpoint), trio.current_time()
                if wanted is None and outcome == "refused":
                    self.refused += 1
                    failing_since = None
                elif wanted is not None and word == wanted:
                    self.good[endpoint.kind] += 1
                    self.good_while[phase] += 1
                    if failing_since is not None:
                        self.outages.append(Outage(endpoint, failing_since, now))
                        failing_since = None
                else:
                    self.misses.append(Miss(endpoint, began, now, outcome, word))
                    if failing_since is None and wanted is not None:
                        failing_since = began
                if wanted is not None:
                    last_seen = now
                await trio.sleep(pace(wanted, failing_since))
        finally:
            udp.close()
            self._asked.discard(endpoint)


def pace(wanted: str | None, failing_since: float | None) -> float:
    if wanted is None:
        return PACE_VACANT
    if failing_since is not None:
        return PACE_FAILED
    return PACE


async def ask_tcp(endpoint: Endpoint, patience: float = TIMEOUT) -> Answer:
    family = socket.AF_INET6 if ":" in endpoint.ip else socket.AF_INET
    received = b""
    with trio.move_on_after(patience):
        try:
            with trio.socket.socket(family, socket.SOCK_STREAM) as peer:
                await peer.connect((endpoint.ip, endpoint.port))
                if endpoint.kind == "http":
                    await peer.send(REQUEST)
                while data := await peer.recv(4096):
                    received += data
        except OSError as error:
            if received and endpoint.kind == "tcp":
                return f"cut off: {name_of(error)}", None
            return name_of(error), None
        return read_http(received) if endpoint.kind == "http" else read_greeting(received)
    return "timeout", None


def read_http(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return "closed without an answer", None
    status = head.split(b" ", 2)[1].decode()
    if status != "200":
        return status, None
    return ("200", body.decode().strip()) if body.endswith(b"\n") else ("cut off", None)


def read_greeting(received: bytes) -> Answer:
    if not received.endswith(b"\n"):
        return "closed without an answer" if not received else "cut off", None
    return "greeted", received.decode().strip()


class UdpClient:
    """Its questions are numbered, so that a late answer to an earlier one is not taken for this one's."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket: trio.socket.SocketType | None = None
        self._numbers = itertools.count()

    async def ask(self, patience: float = PATIENCE_UDP) -> Answer:
        number = next(self._numbers)
        if number % UDP_CLIENT_LIFE == 0:
            self.close()
        with trio.move_on_after(patience):
            try:
                return await self._ask(b"%d" % number)
            except OSError as error:
                return name_of(error), None
        return "timeout", None

    async def _ask(self, question: bytes) -> Answer:
        if self._socket is None:
            family = socket.AF_INET6 if ":" in self._endpoint.ip else socket.AF_INET
            self._socket = trio.socket.socket(family, socket.SOCK_DGRAM)
            await self._socket.connect((self._endpoint.ip, self._endpoint.port))
        await self._socket.send(question)
        while True:
            word, _, asked = (await self._socket.recv(4096)).partition(b" ")
            if asked == question:
                return "echoed", word.decode()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def name_of(error: OSError) -> str:
    names = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset"}
    return names.get(
        error.errno or 0, type(error).__name__ if error.errno is None else errno.errorcode[error.errno]
    )
