"""The whole system on a throw-away machine: dockerd with our file as its proxy, registrar, Envoy.

with Stack(artifact, engine) as stack:
    stack.dockerd.run_http("hello", "-p", "8080:80", labels={"ServiceName": "web"})
    assert stack.get(8080).text == "hello\\n"
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from .docker import Dockerd
from .engines import Engine
from .envoy import Envoy
from .host import Host
from .netns import HttpReply, Namespace
from .registrar import SHIV_ROOT, HostRegistrar, Registrar
from .wait import eventually


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
            self.registrar: Registrar = HostRegistrar(
                self.host, artifact, self.dockerd.docker_host, settings or {}
            )
            self.dockerd.env["SHIM_SOCKET"] = str(self.registrar.socket)
            self.dockerd.env["SHIV_ROOT"] = str(SHIV_ROOT)
            text = self.registrar.command("bootstrap").stdout
            self.bootstrap: dict[str, Any] = yaml.safe_load(text)
            self.envoy = self.another_envoy("envoy", self.bootstrap)
        except BaseException:
            self._clean.close()
            raise

    def another_envoy(self, name: str, bootstrap: Mapping[str, Any], *confined: str) -> Envoy:
        """An Envoy in this machine's namespace, not started; ``confined`` is a command that runs it."""
        admin = bootstrap["admin"]["address"].get("socket_address")
        return Envoy(
            self.host.dir / name,
            bootstrap,
            prefix=self.host.argv(*confined),
            args=["--drain-time-s", "3600", "--file-flush-interval-msec", "100"],
            # A Unix socket is reached from anywhere.
            connect=(lambda: self.host.connect(admin["address"], admin["port_value"])) if admin else None,
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
