"""A host to attack: the built file's registrar and shims, a real Envoy, and a Docker that is not real.

Docker itself takes no part in what is attacked here: shims are started as dockerd starts them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.attacks import attacker
from tests.harness.envoy import Envoy
from tests.harness.fake_dockerd import make_container
from tests.harness.host import Host
from tests.harness.proxy import Proxy, flags, start_proxy
from tests.harness.registrar import API_PORT, HostRegistrar
from tests.harness.wait import eventually

NOBODY = 65534
REGISTRAR_NICE, ENVOY_NICE = "-10", "-5"  # as the units have it
# What a user of subordinate ids has: his own, and a block of them.
SUBORDINATE = range(100_000, 165_536)
API = f"127.0.0.1:{API_PORT}"
ORIGIN_PORT = 8000

ORIGIN = """
import http.server
http.server.ThreadingHTTPServer.handle_error = lambda *_: None  # a client that went away
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "6"); self.end_headers()
        self.wfile.write(b"hello\\n")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""

# The containers in a file, and an event for each line of another that grows.
DOCKER = """
import http.server, json, os, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return ""
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200)
        if self.path.startswith("/events"):
            self.end_headers(); self.wfile.flush()
            with open(sys.argv[3]) as events:
                events.seek(0, os.SEEK_END)
                while True:
                    for line in events:
                        event = {"Action": "start", "Actor": {"ID": line.strip()}}
                        self.wfile.write(json.dumps(event).encode() + b"\\n")
                    time.sleep(0.01)
        body = open(sys.argv[2], "rb").read()
        self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def handle_error(self, *_): pass  # a registrar that went away
Server(sys.argv[1], Handler).serve_forever()
"""


class Rig:
    """A context manager.  ``settings`` are the registrar's; ``envoy_user`` is whose process Envoy is."""

    def __init__(
        self, artifact: Path, settings: Mapping[str, Any] | None = None, envoy_user: int = 0
    ) -> None:
        self._clean = ExitStack()
        self.artifact = artifact
        self._settings = settings or {}
        self._envoy_user = envoy_user
        self.shims: dict[int, Proxy] = {}

    def __enter__(self) -> "Rig":
        with ExitStack() as clean:
            self.host = clean.enter_context(Host())
            docker = self.host.dir / "docker.sock"
            self._containers: list[dict[str, Any]] = []
            self._listing, self._events = self.host.dir / "containers.json", self.host.dir / "events"
            self._listing.write_text("[]")
            self._events.touch()
            self.host.popen([sys.executable, "-c", DOCKER, docker, self._listing, self._events])
            self.host.popen([sys.executable, "-c", ORIGIN])
            self.registrar = HostRegistrar(self.host, self.artifact, f"unix://{docker}", self._settings)
            eventually(docker.exists)
            self.registrar.launch(prefix=["nice", "-n", REGISTRAR_NICE])  # as its unit does
            self.registrar.wait_until_healthy()
            self.bootstrap = self.make_bootstrap()
            self.envoy = self.make_envoy("envoy", self.bootstrap)
            clean.callback(self._end_shims)
            clean.enter_context(self.envoy)
            self._clean = clean.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._clean.close()

    def make_bootstrap(self, *args: str) -> dict[str, Any]:
        made: dict[str, Any] = yaml.safe_load(self.registrar.command("bootstrap", *args).stdout)
        return made

    def make_envoy(self, name: str, bootstrap: Mapping[str, Any]) -> Envoy:
        """Not started."""
        admin = bootstrap["admin"]["address"]["socket_address"]
        become = ["nice", "-n", ENVOY_NICE]
        if self._envoy_user:
            (self.host.dir / name).mkdir()
            os.chown(self.host.dir / name, self._envoy_user, self._envoy_user)
            user = str(self._envoy_user)
            become += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return Envoy(
            self.host.dir / name,
            bootstrap,
            prefix=self.host.argv(*become),
            connect=lambda: self.host.connect(admin["address"], admin["port_value"]),
        )

    @property
    def node(self) -> str:
        return str(self.bootstrap["node"]["id"])

    def publish(self, port: int) -> Proxy:
        """A shim for 127.0.0.1:``port``, as a started container has one."""
        ip, identity = f"127.1.{port >> 8}.{port & 255}", f"{port:064x}"
        self._containers.append(make_container(f"web-{port}", (ip,), (("tcp", port),), identity))
        new = self._listing.with_suffix(".new")
        new.write_text(json.dumps(self._containers))
        new.rename(self._listing)
        env = {**os.environ, "SHIM_SOCKET": str(self.registrar.socket)}
        command = flags("tcp", ("127.0.0.1", port), (ip, ORIGIN_PORT))
        self.shims[port] = self.host.call(start_proxy, self.artifact, command, env=env)
        with self._events.open("a") as events:
            events.write(f"{identity}\n")
        return self.shims[port]

    def get(self, port: int, timeout: float = 20) -> float:
        """Seconds until Envoy serves the port."""
        begun = time.monotonic()

        def attempt() -> bool:
            return self.host.http_get(f"http://127.0.0.1:{port}/").text == "hello\n"

        eventually(attempt, timeout, f"port {port} is served")
        return time.monotonic() - begun

    def health(self, timeout: float = 60.0) -> float:
        """Seconds that /healthz takes, on a connection of its own."""
        begun = time.monotonic()
        assert self.host.http_get(f"http://{API}/healthz", timeout=timeout).status == 200
        return time.monotonic() - begun

    def slowest_health(self, seconds: float = 3.0) -> float:
        until = time.monotonic() + seconds
        slowest = 0.0
        while time.monotonic() < until:
            slowest = max(slowest, self.health())
        return slowest

    def status(self) -> Any:
        return json.loads(self.registrar.read("/status").text)

    @contextmanager
    def attack(
        self, kind: str, count: int, users: Sequence[int] = (NOBODY,), address: str = API, **more: Any
    ) -> Iterator[None]:
        said = {"kind": kind, "address": address, "count": count, "users": list(users), **more}
        command = [sys.executable, attacker.__file__, json.dumps(said)]
        process = self.host.popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"attacking\n"
            yield
            assert process.poll() is None
        finally:
            process.kill()
            process.wait(10)

    def _end_shims(self) -> None:
        for shim in self.shims.values():
            if shim.status is None:
                shim.stop()


def peak_memory(pid: int) -> float:
    """The most memory a process ever had (MB)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
