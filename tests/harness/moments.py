"""When a container started, and when its port first answered: two moments to take the difference of."""

import json
import socket
import threading
import time

from .docker import Dockerd
from .netns import Namespace


class StartEvent:
    """Docker's next `start` event, at the time that Docker puts into it."""

    def __init__(self, dockerd: Dockerd) -> None:
        self._at = 0.0
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(dockerd.socket))
        query = "GET /events?filters=%7B%22event%22%3A%5B%22start%22%5D%7D HTTP/1.0\r\nHost: docker\r\n\r\n"
        self._connection.sendall(query.encode())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._connection, self._connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"{"):
                    self._at = json.loads(line)["timeNano"] / 1e9
                    return

    def wait(self) -> float:
        """Seconds since the epoch."""
        self._thread.join(10)
        assert self._at, "no start event"
        return self._at


class FirstAnswer:
    """When a port first answers 200, asked without pause."""

    def __init__(self, machine: Namespace, port: int) -> None:
        self._at = 0.0
        self._thread = threading.Thread(target=machine.call, args=(self._ask, port), daemon=True)
        self._thread.start()

    def _ask(self, port: int) -> None:
        deadline = time.monotonic() + 20
        while not self._at and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), 1.0) as peer:
                    peer.sendall(b"GET / HTTP/1.1\r\nHost: first\r\nConnection: close\r\n\r\n")
                    if b" 200 " in peer.recv(64):
                        self._at = time.time()
            except OSError:
                continue

    def wait(self) -> float:
        """Seconds since the epoch."""
        self._thread.join(25)
        assert self._at, "no answer in 20 s"
        return self._at
