"""The whole system on a throw-away machine: dockerd with our file as its proxy, registrar, Envoy.

with Stack(artifact, engine) as stack:
    stack.dockerd.run_http("hello", "-p", "8080:80", labels={"ServiceName": "web"})
    assert stack.get(8080).text == "hello\\n"
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from .docker import Dockerd
from .engines import ROOT, Engine
from .envoy import Envoy
from .host import Host
from .netns import HttpReply, Namespace
from .wait import eventually

# Unpacked once for all tests, not once a test.
SHIV_ROOT = ROOT / ".build" / "unpacked"
API_PORT = 7776


class Registrar:
    """`envoy-docker-shim server` as users start it."""

    def __init__(self, host: Host, artifact: Path, docker_host: str, settings: Mapping[str, Any]) -> None:
        self.host = host
        self.artifact = artifact
        self.log = host.dir / "registrar.log"
        self.socket = host.dir / "registrar.sock"
        self.config = host.dir / "registrar.yaml"
        self.config.write_text(yaml.safe_dump({"log_level": "debug", **settings}))
        self.env = {
            **os.environ,
            "SHIV_ROOT": str(SHIV_ROOT),
            "SHIM_SOCKET": str(self.socket),
            "DOCKER_HOST": docker_host,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Returns once it answers."""
        command: list[str | Path] = [self.artifact, "server", "--config", self.config]
        self._process = self.host.popen(command, log=self.log, env=self.env)
        eventually(self.answers, 20, f"the registrar answers, see {self.log}")

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

    def read(self, path: str) -> HttpReply:
        return self.host.http_get(f"http://127.0.0.1:{API_PORT}{path}")

    def bindings(self) -> list[dict[str, Any]]:
        return list(json.loads(self.read("/bindings").text))

    def command(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Another role of the file, with the registrar's environment."""
        return subprocess.run(
            self.host.argv(self.artifact, *args),
            env=self.env,
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )


class Stack:
    """A context manager; all parts run when it is entered, and are gone when it is left."""

    def __init__(
        self,
        artifact: Path,
        engine: Engine | str = "20.10",
        *dockerd_args: str,
        settings: Mapping[str, Any] | None = None,
        neighbour: bool = False,
    ) -> None:
        self._clean = ExitStack()
        try:
            self.host = self._clean.enter_context(Host(neighbour=neighbour))
            self.dockerd = Dockerd(self.host, engine, artifact, *dockerd_args)
            self.registrar = Registrar(self.host, artifact, self.dockerd.docker_host, settings or {})
            self.dockerd.env["SHIM_SOCKET"] = str(self.registrar.socket)
            self.dockerd.env["SHIV_ROOT"] = str(SHIV_ROOT)
            text = self.registrar.command("bootstrap", "--config", str(self.registrar.config)).stdout
            self.bootstrap: dict[str, Any] = yaml.safe_load(text)
            self.envoy = self.another_envoy("envoy", self.bootstrap)
        except BaseException:
            self._clean.close()
            raise

    def another_envoy(self, name: str, bootstrap: Mapping[str, Any]) -> Envoy:
        """An Envoy in this machine's namespace, not started."""
        admin = bootstrap["admin"]["address"]["socket_address"]
        return Envoy(
            self.host.dir / name,
            bootstrap,
            prefix=self.host.argv(),
            args=["--drain-time-s", "3600"],
            connect=lambda: self.host.connect(admin["address"], admin["port_value"]),
        )

    def __enter__(self) -> "Stack":
        try:
            self.registrar.start()
            self._clean.enter_context(self.envoy)
            self._clean.enter_context(self.dockerd)
        except BaseException:
            self._clean.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clean.close()

    def get(
        self,
        port: int,
        address: str = "127.0.0.1",
        *,
        source: Namespace | None = None,
        path: str = "/",
        **kw: Any,
    ) -> HttpReply:
        """The first 200 from a published port; refusals, resets and 503s before it are waited out."""
        host = f"[{address}]" if ":" in address else address

        def attempt() -> HttpReply | None:
            try:
                reply = (source or self.host).http_get(f"http://{host}:{port}{path}", **kw)
            except OSError:
                return None
            return reply if reply.status == 200 else None

        reply = eventually(attempt, 10, f"200 from {host}:{port}")
        assert reply is not None
        return reply

    def binding(self, port: int, state: str = "serving", proto: str = "tcp") -> dict[str, Any]:
        """The binding of a host port once it is in ``state``."""

        def look() -> dict[str, Any] | None:
            found = [b for b in self.registrar.bindings() if (b["port"], b["protocol"]) == (port, proto)]
            return found[0] if found and all(b["state"] == state for b in found) else None

        found = eventually(look, 10, f"{proto} port {port} is {state}")
        assert found is not None
        return found

    def address_of(self, container: str) -> str:
        return self.dockerd.ip(container)
