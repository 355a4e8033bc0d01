"""Starts the built file's long-lived roles on free loopback ports, without Docker."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.harness.netns import HttpReply, request
from tests.harness.stack import SHIV_ROOT
from tests.harness.wait import eventually


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now; all taken at once, so that they differ."""
    with ExitStack() as held:
        socks = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


class Site:
    """A configuration of its own in a directory of its own."""

    def __init__(self, artifact: Path, directory: Path, **settings: Any) -> None:
        self.artifact = artifact
        self.directory = directory
        self.api, self.admin = free_ports(2)
        self.socket = directory / "registrar.sock"
        self.config = directory / "config.yaml"
        self.log = directory / "log"
        defaults = {
            "socket": str(self.socket),
            "api_address": f"127.0.0.1:{self.api}",
            "envoy_admin": f"127.0.0.1:{self.admin}",
            "docker_host": f"unix://{directory}/docker.sock",
        }
        self.config.write_text(yaml.safe_dump({**defaults, **settings}))
        self.env = {
            k: v for k, v in os.environ.items() if k not in ("DOCKER_HOST", "SHIM_SOCKET", "SHIM_API_ADDR")
        }
        self.env["SHIV_ROOT"] = str(SHIV_ROOT)

    def run(self, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """A role that ends by itself."""
        command: list[str | Path] = [self.artifact, *args, "--config", self.config]
        return subprocess.run(
            command,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @contextmanager
    def running(self, *args: str, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A role that runs until told to end; ended here if it was not."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.artifact, *args, "--config", self.config],
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(20)

    def read(self, path: str) -> HttpReply:
        return request(f"http://127.0.0.1:{self.api}{path}")

    def wait_until_healthy(self) -> None:
        eventually(lambda: self.read("/healthz").status == 200, 20, f"the registrar answers; {self.log}")
