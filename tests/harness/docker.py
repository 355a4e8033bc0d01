"""A dockerd of one's own on a throw-away machine, with an image that needs no registry.

    with Host() as host, Dockerd(host, "28", proxy_path=artifact) as dockerd:
        dockerd.run_http("hello", "-p", "8080:80", labels={"ServiceName": "web"})
        eventually(lambda: host.http_get("http://127.0.0.1:8080/").text == "hello\\n")

Containers die at once (their stop signal is KILL), so that `docker stop` costs a fraction of a second.
"""

import contextlib
import functools
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from .engines import ROOT, Engine, find_engine, which
from .host import Host
from .netns import run
from .wait import eventually

IMAGE = "eds/busybox:1"
CONTAINERD_PID = "exec/containerd/containerd.pid"


class Dockerd:
    """`env` is dockerd's, and so the proxy's that it starts (SHIM_SOCKET and the like)."""

    def __init__(
        self,
        host: Host,
        engine: Engine | str = "20.10",
        proxy_path: str | os.PathLike[str] | None = None,
        *args: str,
        env: Mapping[str, str] | None = None,
        name: str = "docker",
    ) -> None:
        """`proxy_path` is the userland proxy to use (None: the engine's own); `args` are further flags."""
        self.host = host
        self.engine = find_engine(engine) if isinstance(engine, str) else engine
        self.proxy_path = self.engine.proxy if proxy_path is None else Path(proxy_path)
        self.args = args
        self.env = dict(env or {})
        self.dir = host.dir / name
        self.log = self.dir / "dockerd.log"
        self.socket = self.dir / "docker.sock"
        self.docker_host = f"unix://{self.socket}"
        self.start_took = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._has_image = False
        (self.dir / "client").mkdir(parents=True)
        (self.dir / "daemon.json").write_text("{}")  # or it reads the host's

    def __enter__(self) -> "Dockerd":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, timeout: float = 30.0) -> None:
        """Returns once the API answers; the image is imported the first time."""
        assert self._process is None, "already started"
        began = time.monotonic()
        env = {**os.environ, **self.env, "PATH": self.engine.path}
        self._process = self.host.popen(
            [self.engine.dockerd, *self._flags()], log=self.log, env=env, cwd=self.dir
        )
        eventually(self._answers, timeout, f"{self.engine.dockerd} answers, see {self.log}")
        self.start_took = time.monotonic() - began
        self.import_image()

    def stop(self, timeout: float = 30.0) -> float:
        """SIGTERM, as a service manager does: stops the containers too. Returns the seconds it took."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """SIGKILL to dockerd; its containerd and proxies get their parent-death signals, containers stay."""
        if self._process is not None:
            containerd = (self.dir / CONTAINERD_PID).read_text().strip()
            self._end(signal.SIGKILL, 10.0)
            # It dies with dockerd, a moment later.  A dockerd started within that moment, or while pid 1 has
            # not reaped it yet, takes it for alive, starts none, and gives up after 15 s.
            eventually(lambda: not _runs(containerd), 10, f"containerd {containerd} dies with its dockerd")
            (self.dir / CONTAINERD_PID).unlink(missing_ok=True)

    def restart(self, *, kill: bool = False) -> None:
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def docker(self, *args: str, stdin: bytes = b"", timeout: float = 60.0) -> str:
        """The docker command's stdout, stripped; CommandError with its stderr when it fails."""
        env = {**os.environ, "DOCKER_HOST": self.docker_host, "DOCKER_CONFIG": str(self.dir / "client")}
        return run([which("docker") or "docker", *args], stdin=stdin, timeout=timeout, env=env).strip()

    def api(self, path: str, method: str = "GET", body: object = None, *, timeout: float = 30.0) -> Any:
        """An Engine API call; returns the parsed JSON, or the text of a reply that is none."""
        with contextlib.closing(_UnixConnection(str(self.socket), timeout)) as connection:
            data = None if body is None else json.dumps(body)
            connection.request(
                method, path, data, {} if data is None else {"Content-Type": "application/json"}
            )
            try:
                reply = connection.getresponse()
            except TimeoutError:
                raise TimeoutError(
                    f"{method} {path}: no answer in {timeout} s\n{self._stacks()}\n{self.tail()}"
                ) from None
            text = reply.read().decode()
        if reply.status >= 400:
            raise AssertionError(f"{method} {path}: {reply.status} {text}")
        return json.loads(text) if "json" in reply.headers.get("Content-Type", "") else text

    def import_image(self) -> None:
        """Make IMAGE: busybox with all its applets, empty /tmp and /www. Once is enough for a data-root."""
        if not self._has_image:
            self.docker("import", "-", IMAGE, stdin=busybox_tar())
            self._has_image = True

    def run(
        self,
        *options: str,
        cmd: Sequence[str] = ("sleep", "1000000"),
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        image: str = IMAGE,
    ) -> str:
        """`docker run -d`; returns the container's id as soon as its process runs (it may not listen yet)."""
        options = (*options, *(f"--label={key}={value}" for key, value in (labels or {}).items()))
        if name is not None:
            options = (*options, "--name", name)
        return self.docker("run", "-d", "--stop-signal=KILL", *options, image, *cmd)

    def run_http(self, word: str, *options: str, port: int = 80, **kw: Any) -> str:
        """A container whose HTTP server answers / with a line that is `word`; other paths are 404."""
        return self.run(*options, cmd=["sh", "-c", SERVE_HTTP.format(port=port), word], **kw)

    def run_front(self, url: str, *options: str, port: int = 80, **kw: Any) -> str:
        """A container that answers / with what it gets from `url`, where it passes on its client's trace."""
        return self.run(
            *options, cmd=["sh", "-c", SERVE_FRONT.format(port=port), FRONT.format(url=url)], **kw
        )

    def gateway(self) -> str:
        """This host's address on the containers' (first) network."""
        subnet = self.api("/networks/bridge")["IPAM"]["Config"][0]["Subnet"]
        return str(ip_network(subnet)[1])

    def run_tcp_echo(self, *options: str, port: int = 7, **kw: Any) -> str:
        return self.run(*options, cmd=["nc", "-ll", "-p", str(port), "-e", "cat"], **kw)

    def run_udp_echo(self, *options: str, port: int = 7, **kw: Any) -> str:
        """Echoes each datagram to its sender, however many there are (busybox has nothing for that)."""
        return self.run_python("-c", UDP_ECHO, str(port), options=options, **kw)

    def run_python(self, *argv: str, options: Sequence[str] = (), **kw: Any) -> str:
        """`python *argv` in a container, say ("-m", "tests.harness.backends", "http", "80", "0.0.0.0").

        Its stdin stays open as long as it runs.
        """
        return self.run("-i", *python_container_args(), *options, cmd=[container_python(), *argv], **kw)

    def ip(self, container: str) -> str:
        """Its IPv4 address on its (first) network."""
        networks = self.api(f"/containers/{container}/json")["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def exec(self, container: str, *argv: str, timeout: float = 30.0) -> str:
        return self.docker("exec", container, *argv, timeout=timeout)

    def proxies(self) -> dict[int, list[str]]:
        """Pid to argv of the userland proxies dockerd has running: its children with -container-ip."""
        children = Path(f"/proc/{self.pid}/task").glob("*/children")
        found: dict[int, list[str]] = {}
        for pid in {int(pid) for listing in children for pid in listing.read_text().split()}:
            with contextlib.suppress(OSError):
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
                if "-container-ip" in argv:
                    found[pid] = argv
        return found

    def _flags(self) -> list[str]:
        flags = {
            "config-file": self.dir / "daemon.json",
            "data-root": self.dir / "data",
            "exec-root": self.dir / "exec",
            "pidfile": self.dir / "dockerd.pid",
            "host": self.docker_host,
            "iptables": "false",
            "userland-proxy-path": self.proxy_path,
            "cgroup-parent": self.host.cgroup,
            "exec-opt": "native.cgroupdriver=cgroupfs",  # systemd's would not take that parent
        }
        if self.engine.name != "20.10":
            flags["ip6tables"] = "false"
        return [*(f"--{flag}={value}" for flag, value in flags.items()), *self.args]

    def _answers(self) -> bool:
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            self._process = None
            raise RuntimeError(f"dockerd ended with status {status}:\n{self.tail()}")
        return bool(self.api("/_ping", timeout=2.0) == "OK")

    def _stacks(self) -> str:
        """What dockerd waits for where proxies are concerned, as it says itself; and what those do."""
        if self._process is None or self._process.poll() is not None:
            return "dockerd is gone"
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(1)  # only on the way to a failure, and nothing says when it has written all
        texts = [path.read_text() for path in self.dir.rglob("goroutine-stacks*")]
        mine = [stack for text in texts for stack in text.split("\n\n") if "portmapper" in stack]
        shims = []
        for at in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (at / "cmdline").read_text().replace("\0", " ")
                if "-host-port" in words:
                    lines = (at / "status").read_text().splitlines()
                    signals = [line for line in lines if line.startswith(("State", "PPid", "Sig", "ShdPnd"))]
                    shims.append(f"{at.name} {(at / 'wchan').read_text()} {signals} {words[-150:]}")
        return "\n".join((*mine, *shims))

    def tail(self, lines: int = 30) -> str:
        """The end of its log, for a failure's text."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self, signum: signal.Signals, timeout: float) -> float:
        assert self._process is not None, "not started"
        began = time.monotonic()
        self._process.send_signal(signum)
        self._process.wait(timeout)
        self._process = None
        return time.monotonic() - began


def container_python() -> str:
    """The interpreter that runs this, by the path it has in a container made with python_container_args()."""
    return os.path.realpath(sys.executable)


def python_container_args() -> list[str]:
    """`docker run` options that put this Python, its packages and this repository into a container."""
    trees = ["/usr", "/lib", "/lib64", sys.base_prefix, sysconfig.get_path("purelib"), str(ROOT)]
    mounts = {tree: f"--volume={tree}:{tree}:ro" for tree in trees if os.path.isdir(tree)}
    path = f"{ROOT}:{sysconfig.get_path('purelib')}"
    env = [f"--env=PYTHONPATH={path}", "--env=PYTHONDONTWRITEBYTECODE=1", "--env=PYTHONUNBUFFERED=1"]
    return [*mounts.values(), *env, "--workdir=/tmp"]


FRONT = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
exec wget -qO- --header "traceparent: $HTTP_TRACEPARENT" {url}
"""
SERVE_FRONT = (
    'mkdir -p /www/cgi-bin && cd /www/cgi-bin && printf %s "$0" >index.cgi && chmod +x index.cgi'
    " && exec httpd -f -h /www -p {port}"
)
SERVE_HTTP = 'echo "$0" >/www/index.html && exec httpd -f -h /www -p {port}'
UDP_ECHO = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", int(sys.argv[1])))
    while True:
        data, sender = sock.recvfrom(65535)
        sock.sendto(data, sender)
"""


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


@functools.lru_cache(maxsize=1)
def busybox_tar() -> bytes:
    """What IMAGE is imported from."""
    busybox = which("busybox")
    assert busybox is not None, "needs busybox-static"
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(busybox.resolve(), "bin/busybox")
        for applet in run([busybox, "--list"]).split():
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return made.getvalue()
