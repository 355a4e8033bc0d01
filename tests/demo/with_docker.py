"""A container behind a real dockerd, on a throw-away machine (a network namespace of its own)."""

import json
import socket
import threading
import time

from tests.demo.telling import say, show, show_stats, show_trace
from tests.harness.collectors import OtlpCollector
from tests.harness.docker import Dockerd
from tests.harness.engines import ROOT, ensure_packages
from tests.harness.netns import Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

FILE = ROOT / "dist" / "envoy-docker-shim"
WORD = "hello from the container"
PORT, UDP_PORT = 8080, 5353


def show_all() -> None:
    say("dockerd, busybox and ip: installing what is missing")
    ensure_packages()
    with Stack(FILE, settings={"tracing": {"otlp": "grpc://127.0.0.1:4317"}}) as stack:
        collector = stack.host.call(OtlpCollector, "127.0.0.1", 4317)
        with collector:
            say(
                f"dockerd {stack.dockerd.engine.version} runs with our file as its docker-proxy, beside Envoy"
            )
            _start(stack)
            show(f"curl http://127.0.0.1:{PORT}/", stack.get(PORT).text)
            show(f"curl http://[::1]:{PORT}/", stack.get(PORT, "::1").text)
            show_trace(collector)
            show_stats(stack.envoy)
            _echo(stack)
            show("envoy-docker-shim status", stack.registrar.command("status").stdout)


def _start(stack: Stack) -> None:
    started, answered = StartEvent(stack.dockerd), FirstAnswer(stack.host, PORT)
    labels = {"ServiceName": "greeter", "EnvironmentName": "demo"}
    stack.dockerd.run_http(WORD, "-p", f"{PORT}:80", labels=labels)
    say(f"docker run -p {PORT}:80 --label ServiceName=greeter --label EnvironmentName=demo ...")
    pause = answered.wait() - started.wait()
    say(f"from Docker's start event to the first 200 through Envoy: {pause * 1000:.0f} ms")


def _echo(stack: Stack) -> None:
    stack.dockerd.run_udp_echo("-p", f"{UDP_PORT}:53/udp", port=53)
    answer = eventually(lambda: stack.host.udp_ask("127.0.0.1", UDP_PORT, b"ping"), 10, "an echo")
    show(f"docker run -p {UDP_PORT}:53/udp ..., and a datagram to it, echoed", answer.decode())


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
                    peer.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
                    if b" 200 " in peer.recv(64):
                        self._at = time.time()
            except OSError:
                continue

    def wait(self) -> float:
        """Seconds since the epoch."""
        self._thread.join(25)
        assert self._at, "no answer in 20 s"
        return self._at
