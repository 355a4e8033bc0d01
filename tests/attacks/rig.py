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
from tests.attacks.places import reachable_envoy
from tests.harness.envoy import Envoy
from tests.harness.fake_dockerd import make_container
from tests.harness.host import Host
from tests.harness.netns import request
from tests.harness.proxy import Proxy, flags, start_proxy
from tests.harness.registrar import API_PORT, HostRegistrar
from tests.harness.wait import eventually

NOBODY, ENVOY = 65534, 4711
# As CPUWeight=1000 and 300 of the units.
REGISTRAR_NICE, ENVOY_NICE = -10, -5
# What a user of subordinate ids has: his own, and a block of them.
SUBORDINATE = range(100_000, 165_536)
API = f"127.0.0.1:{API_PORT}"
ORIGIN_PORT = 8000
BUSY_PORT = 8900

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

# A POST brings a container, which is in the listing from then on, and whose start is an event.
DOCKER = """
import http.server, json, socketserver, sys, threading
listed, started, news = [], [], threading.Condition()
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return ""
    def log_message(self, *_): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with news:
            listed.append(body)
            started.append(json.loads(body)["Id"])
            news.notify_all()
        self.answer(b"")
    def do_GET(self):
        if not self.path.startswith("/events"):
            self.answer(b"[" + b",".join(listed) + b"]")
            return
        told = len(started)
        self.send_response(200); self.end_headers(); self.wfile.flush()
        while True:
            with news:
                news.wait_for(lambda: len(started) > told)
                new, told = started[told:], len(started)
            for identity in new:
                event = {"Action": "start", "Actor": {"ID": identity}}
                self.wfile.write(json.dumps(event).encode() + b"\\n")
    def answer(self, body):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def handle_error(self, *_): pass  # a registrar that went away
Server(sys.argv[1], Handler).serve_forever()
"""


class Rig:
    """A context manager.  ``settings`` are the registrar's; ``envoy_user`` is whose process Envoy is.

    ``sockets``: as by default, the API and Envoy's admin are Unix sockets, and Envoy has a user of its own.
    """

    def __init__(
        self,
        artifact: Path,
        settings: Mapping[str, Any] | None = None,
        envoy_user: int = 0,
        *,
        sockets: bool = False,
    ) -> None:
        self._clean = ExitStack()
        self.artifact = artifact
        self._settings = settings or {}
        self._sockets = sockets
        self._envoy_user = ENVOY if sockets else envoy_user
        self.shims: dict[int, Proxy] = {}

    def __enter__(self) -> "Rig":
        with ExitStack() as clean:
            self.host = clean.enter_context(Host())
            if self._sockets:
                self._settings = {**self._settings, **self._make_doors()}
            self._docker = docker = self.host.dir / "docker.sock"
            # Neither is what is attacked: their turns must not be counted as a port's.
            self.host.popen(
                [*coming_first(ENVOY_NICE), sys.executable, "-c", DOCKER, str(docker)], start_new_session=True
            )
            self.host.popen([*coming_first(ENVOY_NICE), sys.executable, "-c", ORIGIN], start_new_session=True)
            self.registrar = HostRegistrar(self.host, self.artifact, f"unix://{docker}", self._settings)
            self.api = str(self._settings.get("api_address", API))
            eventually(docker.exists)
            self.start_registrar()
            self.bootstrap = self.make_bootstrap()
            self.envoy = self.make_envoy("envoy", self.bootstrap)
            clean.callback(self._end_shims)
            clean.enter_context(self.envoy)
            self._clean = clean.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._clean.close()

    def start_registrar(self) -> None:
        """Returns once it answers."""
        self.registrar.launch(prefix=coming_first(REGISTRAR_NICE))
        self.registrar.wait_until_healthy()

    def _make_doors(self) -> dict[str, Any]:
        """Directories as the units make them; returns the settings for the sockets in them."""
        run, envoy_run = self.host.dir / "run", self.host.dir / "run-envoy"
        run.mkdir(mode=0o755)
        envoy_run.mkdir(mode=0o750)
        os.chown(envoy_run, ENVOY, ENVOY)
        sockets = {"api_address": f"unix:{run}/api.sock", "envoy_admin": f"unix:{envoy_run}/admin.sock"}
        return {**sockets, "envoy_user": ENVOY}

    def make_bootstrap(self, *args: str) -> dict[str, Any]:
        made: dict[str, Any] = yaml.safe_load(self.registrar.command("bootstrap", *args).stdout)
        return made

    def make_envoy(self, name: str, bootstrap: Mapping[str, Any]) -> Envoy:
        """Not started."""
        admin = bootstrap["admin"]["address"].get("socket_address")
        become = ["setsid", *coming_first(ENVOY_NICE)]
        if self._envoy_user:
            (self.host.dir / name).mkdir()
            os.chown(self.host.dir / name, self._envoy_user, self._envoy_user)
            user = str(self._envoy_user)
            become += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return Envoy(
            self.host.dir / name,
            bootstrap,
            prefix=self.host.argv(*become),
            program=reachable_envoy(self.host) if self._envoy_user else None,
            connect=(lambda: self.host.connect(admin["address"], admin["port_value"])) if admin else None,
        )

    @property
    def node(self) -> str:
        return str(self.bootstrap["node"]["id"])

    def publish(self, port: int) -> Proxy:
        """A shim for 127.0.0.1:``port``, as a started container has one."""
        ip, identity = f"127.1.{port >> 8}.{port & 255}", f"{port:064x}"
        container = make_container(f"web-{port}", (ip,), (("tcp", port),), identity)
        env = {**os.environ, "SHIM_SOCKET": str(self.registrar.socket)}
        command = flags("tcp", ("127.0.0.1", port), (ip, ORIGIN_PORT))
        self.shims[port] = self.host.call(start_proxy, self.artifact, command, env=env)
        request("http://docker/", "POST", body=json.dumps(container).encode(), unix=self._docker)
        return self.shims[port]

    def get(self, port: int, timeout: float = 20) -> float:
        """Seconds until Envoy serves the port."""
        begun = time.monotonic()

        def attempt() -> bool:
            return self.host.http_get(f"http://127.0.0.1:{port}/").text == "hello\n"

        eventually(attempt, timeout, f"port {port} is served")
        return time.monotonic() - begun

    def keep_busy(self, times: int = 10) -> None:
        """Publish a port again and again, until it is served each time: meanwhile everybody has turns."""
        for _ in range(times):
            with self.publish(BUSY_PORT):
                self.get(BUSY_PORT)

    def health(self, timeout: float = 60.0) -> float:
        """Seconds that /healthz takes, on a connection of its own."""
        begun = time.monotonic()
        assert self.registrar.read("/healthz", timeout).status == 200
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
        self, kind: str, count: int, users: Sequence[int] = (NOBODY,), address: str = "", **more: Any
    ) -> Iterator[None]:
        """Run one of attacker.KINDS by these users, on the API unless an address is given."""
        place = address or self.api
        said = {"kind": kind, "address": place, "count": count, "users": list(users), **more}
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


def coming_first(nice: int) -> list[str]:
    """A command that runs another one with a share of the processors as ``nice`` gives it.

    Where the kernel groups processes by session (autogroup, sched(7)), a process's own value counts within
    its session only; the session's counts beside others, as a unit's CPUWeight= does.
    """
    script = '[ ! -e /proc/self/autogroup ] || echo "$0" >/proc/self/autogroup; exec nice -n "$0" "$@"'
    return ["sh", "-c", script, str(nice)]


def peak_memory(pid: int) -> float:
    """The most memory a process ever had (MB)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
