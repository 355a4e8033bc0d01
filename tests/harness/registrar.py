"""The built file's long-lived roles, started as users start them: the one launcher of a registrar.

with LoopbackRegistrar(artifact, tmp_path).running() as process:      # no root, no Docker
    ...
registrar = HostRegistrar(host, artifact, dockerd.docker_host, {"tracing": {...}})
registrar.start()                                                     # in a Host's namespace
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from .engines import ROOT
from .host import Host
from .netns import HttpReply, Place, request
from .wait import eventually

# Unpacked once for all tests, not once a test.
SHIV_ROOT = ROOT / ".build" / "unpacked"
API_PORT, ADMIN_PORT = 7776, 9901  # where tests put them: the defaults are Unix sockets


class Registrar:
    """One configuration in a directory of its own, and the roles that run with it at a place.

    ``env`` is the environment of each; ``start`` and ``end`` are for tests in which the registrar goes and
    comes back, ``running`` for those in which it is there for a while.
    """

    start_timeout = 20.0  # seconds, of which unpacking the file is most

    def __init__(
        self, place: Place, artifact: Path, directory: Path, settings: Mapping[str, Any], api: int = API_PORT
    ) -> None:
        self.place = place
        self.artifact = artifact
        self.directory = directory
        self.api = api
        kind, _, api_path = str(settings.get("api_address", "")).partition(":")
        self.api_path = Path(api_path) if kind == "unix" else None
        self.log = directory / "registrar.log"
        self.socket = directory / "registrar.sock"
        self.config = directory / "registrar.yaml"
        self.config.write_text(yaml.safe_dump(dict(settings)))
        self.env = {**os.environ, "SHIV_ROOT": str(SHIV_ROOT)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def launch(
        self, *args: str, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a role (`server` unless said) and return at once; ``env`` is in addition.

        ``prefix`` is put before the command and must exec it, as signals go to the process started.
        """
        argv: list[str | Path] = [*prefix, self.artifact, *(args or ("server",)), "--config", self.config]
        self._process = self.place.popen(argv, log=self.log, env={**self.env, **(env or {})})
        return self._process

    def start(self) -> None:
        """The server; returns once it answers."""
        self.launch()
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        eventually(self.answers, self.start_timeout, f"the registrar answers, see {self.log}")

    def answers(self) -> bool:
        try:
            return self.read("/healthz").status == 200
        except OSError:
            assert self._process is not None and self._process.poll() is None, self.log.read_text()
            return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; returns its exit code."""
        process, self._process = self._process, None
        assert process is not None, "not started"
        process.send_signal(number)
        return process.wait(20)

    @contextmanager
    def running(
        self, *args: str, env: Mapping[str, str] | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """A role (`server` unless said) that runs until told to end; ended here if it was not.

        Entered at once: wait_until_healthy() waits until it answers.
        """
        process = self.launch(*args, env=env)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)

    def command(
        self, *args: str, check: bool = True, stdin: IO[str] | int = subprocess.DEVNULL
    ) -> "subprocess.CompletedProcess[str]":
        """A role that ends by itself, with the registrar's configuration and environment."""
        return subprocess.run(
            self.place.argv(self.artifact, *args, "--config", self.config),
            env=self.env,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=stdin,
        )

    def read(self, path: str, timeout: float = 5.0) -> HttpReply:
        """A page of the API."""
        url = f"http://127.0.0.1:{self.api}{path}"
        return self.place.call(request, url, timeout=timeout, unix=self.api_path)

    def bindings(self) -> list[dict[str, Any]]:
        return list(json.loads(self.read("/bindings").text))


class HostRegistrar(Registrar):
    """On a throw-away machine, at ports of its loopback; the environment names its socket and Docker's."""

    def __init__(self, host: Host, artifact: Path, docker_host: str, settings: Mapping[str, Any]) -> None:
        places = {"api_address": f"127.0.0.1:{API_PORT}", "envoy_admin": f"127.0.0.1:{ADMIN_PORT}"}
        super().__init__(host, artifact, host.dir, {"log_level": "debug", **places, **settings})
        self.env |= {"SHIM_SOCKET": str(self.socket), "DOCKER_HOST": docker_host}


class LoopbackRegistrar(Registrar):
    """On this machine's loopback, at free ports, without root; its file says all, the environment nothing.

    No Docker is there unless a test puts one at ``directory``/docker.sock.
    """

    def __init__(self, artifact: Path, directory: Path, **settings: Any) -> None:
        api, self.admin = free_ports(2)
        places = {
            "socket": str(directory / "registrar.sock"),
            "api_address": f"127.0.0.1:{api}",
            "envoy_admin": f"127.0.0.1:{self.admin}",
            "docker_host": f"unix://{directory}/docker.sock",
            "firewall": False,  # this machine's own is not to be touched
        }
        super().__init__(Place(), artifact, directory, {**places, **settings}, api)
        for name in ("DOCKER_HOST", "SHIM_SOCKET", "SHIM_API_ADDR"):
            self.env.pop(name, None)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now; all taken at once, so that they differ."""
    with ExitStack() as held:
        socks = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]
