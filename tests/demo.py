"""``./build.sh demo``: the main job, shown on this machine, which is left as it was.

As root: a container behind a real dockerd, on a throw-away machine (a network namespace).  Without root:
the same with a plain process as the backend, and this script in dockerd's place.
"""

import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.harness.collectors import OtlpCollector, Span
from tests.harness.docker import Dockerd
from tests.harness.engines import ROOT, ensure_packages
from tests.harness.envoy import Envoy
from tests.harness.netns import request
from tests.harness.stack import Stack
from tests.harness.wait import eventually

T = TypeVar("T")
FILE = ROOT / "dist" / "envoy-docker-shim"
WORD = "hello from the container"
LABELS = {"ServiceName": "greeter", "EnvironmentName": "demo"}
BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def main() -> int:
    if os.geteuid() == 0:
        say("installing what is missing (dockerd, busybox, ip)")
        ensure_packages()
        with_docker()
    else:
        say("not root: no dockerd; a plain process is the backend, and this script starts the proxies")
        without_docker()
    say("done; nothing is left behind")
    return 0


# -- as root ---------------------------------------------------------------------------------------


def with_docker() -> None:
    with stack_with_collector() as (stack, collector):
        stack.dockerd.api("/_ping")
        say(
            f"dockerd {stack.dockerd.engine.version} runs with our file as its docker-proxy; Envoy is connected"
        )
        started = StartEvents(stack.dockerd)
        first = FirstAnswer(lambda: stack.host.connect("127.0.0.1", 8080, timeout=1.0))
        stack.dockerd.run_http(WORD, "-p", "8080:80", labels=LABELS)
        served = first.wait()
        say("docker run -p 8080:80 --label ServiceName=greeter --label EnvironmentName=demo ...")
        say(f"first 200 through Envoy {(served - started.wait()) * 1000:.0f} ms after Docker's start event")
        show("curl http://127.0.0.1:8080/", stack.get(8080).text)
        show("curl http://[::1]:8080/", stack.get(8080, "::1").text)
        show_trace(collector)
        show_stats(stack.envoy)
        stack.dockerd.run_udp_echo("-p", "5353:53/udp", port=53)
        answer = eventually(lambda: stack.host.udp_ask("127.0.0.1", 5353, b"ping"), 10)
        show("one UDP datagram to 127.0.0.1:5353, echoed by a container", answer.decode())
        show("envoy-docker-shim status", stack.registrar.command("status").stdout)


@contextmanager
def stack_with_collector() -> Iterator[tuple[Stack, OtlpCollector]]:
    """A stack, and a collector in its namespace that its Envoy sends spans to."""
    tracing = {"otlp": "grpc://127.0.0.1:4317"}
    with Stack(FILE, settings={"tracing": tracing}) as stack:
        with stack.host.call(OtlpCollector, "127.0.0.1", 4317) as collector:
            yield stack, collector


class StartEvents:
    """Docker's next `start` event, by the wall clock Docker puts into it."""

    def __init__(self, dockerd: Dockerd) -> None:
        self._at: float | None = None
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
        self._thread.join(10)
        assert self._at is not None, "no start event"
        return self._at


class FirstAnswer:
    """When a port first answers 200, asked without pause."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._at = 0.0
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        deadline = time.monotonic() + 20
        while not self._at and time.monotonic() < deadline:
            try:
                with self._connect() as peer:
                    peer.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
                    if b" 200 " in peer.recv(64):
                        self._at = time.time()
            except OSError:
                continue

    def wait(self) -> float:
        self._thread.join(25)
        assert self._at, "no answer in 20 s"
        return self._at


# -- without root ----------------------------------------------------------------------------------


def without_docker() -> None:
    with ExitStack() as clean:
        directory = Path(clean.enter_context(tempfile.TemporaryDirectory(prefix="eds-demo-")))
        backend = clean.enter_context(serve_word())
        echo = clean.enter_context(serve_echo())
        collector = clean.enter_context(OtlpCollector())
        api, admin, port, udp = free_ports(4)
        config = directory / "config.yaml"
        settings = {
            "socket": str(directory / "registrar.sock"),
            "api_address": f"127.0.0.1:{api}",
            "envoy_admin": f"127.0.0.1:{admin}",
            "docker_host": f"unix://{directory}/no-docker.sock",
            "tracing": {"otlp": f"grpc://127.0.0.1:{collector.port}"},
        }
        config.write_text(yaml.safe_dump(settings))
        import subprocess

        def role(*args: str) -> list[str]:
            return [str(FILE), *args, "--config", str(config)]

        log = clean.enter_context(open(directory / "registrar.log", "wb"))
        registrar = subprocess.Popen(role("server"), stderr=log)
        clean.callback(lambda: (registrar.terminate(), registrar.wait(10)))
        url = f"http://127.0.0.1:{api}"
        eventually(lambda: request(f"{url}/healthz").status == 200, 30, "the registrar answers")
        text = subprocess.run(role("bootstrap"), check=True, capture_output=True, text=True).stdout
        envoy = clean.enter_context(Envoy(directory / "envoy", yaml.safe_load(text)))
        say("the registrar and an Envoy run")
        env = {**os.environ, "SHIM_SOCKET": settings["socket"]}
        for proto, front, back in (("tcp", port, backend), ("udp", udp, echo)):
            flags = ["-proto", proto, "-host-ip", "127.0.0.1", "-host-port", str(front)]
            proxy = start_proxy(
                FILE, [*flags, "-container-ip", "127.0.0.1", "-container-port", str(back)], env=env
            )
            clean.callback(proxy.stop)
            say(f"a proxy for {proto} port {front}, started as dockerd does: it answered {proxy.answer!r}")
        say("no Docker to ask for labels: the port is served without them after 10 s")
        served = eventually(lambda: request(f"http://127.0.0.1:{port}/").text, 20, "the port answers")
        show(f"curl http://127.0.0.1:{port}/", served)
        show_trace(collector)
        show_stats(envoy)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(b"ping", ("127.0.0.1", udp))
            show(f"one UDP datagram to 127.0.0.1:{udp}, echoed", client.recv(100).decode())


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now; all taken at once, so that they differ."""
    with ExitStack() as held:
        socks = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


@contextmanager
def serve_word() -> Iterator[int]:
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(WORD) + 1))
            self.end_headers()
            self.wfile.write(WORD.encode() + b"\n")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@contextmanager
def serve_echo() -> Iterator[int]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def run() -> None:
        while True:
            data, peer = sock.recvfrom(65536)
            if not data:
                return
            sock.sendto(data, peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    port = sock.getsockname()[1]
    yield port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ender:
        ender.sendto(b"", ("127.0.0.1", port))
    thread.join(5)
    sock.close()


# -- both ------------------------------------------------------------------------------------------


def show(what: str, text: str) -> None:
    say(f"{what}:")
    for line in text.rstrip().splitlines():
        print(f"            {line}", flush=True)


def show_trace(collector: OtlpCollector) -> None:
    span: Span = collector.wait_for(lambda spans: spans[0] if spans else None)
    say(f"the same request in a trace: {span}")


def show_stats(envoy: Envoy) -> None:
    def look() -> list[str]:
        page = envoy.admin("/stats/prometheus?usedonly")
        return [line for line in page.splitlines() if line.startswith("envoy_http_downstream_rq_xx{")]

    lines = eventually(look, 10, "request counts")
    show(
        "the same request in Envoy's Prometheus page",
        "\n".join(line for line in lines if "admin" not in line),
    )


if __name__ == "__main__":
    sys.exit(main())
