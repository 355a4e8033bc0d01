"""A healthy host with Docker's defaults, and what `doctor` says of it."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.docker.firewall.rig import led_to_envoy, stack_with
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

# Much longer than any question may take, and much shorter than all of them one after another.
BOUND = 20.0


class Report(NamedTuple):
    """One run: its exit code, check -> findings ("what -> cure"), and check -> why it could not be made."""

    code: int
    found: dict[str, str]
    unknown: dict[str, str]
    took: float

    @property
    def healthy(self) -> bool:
        return self == Report(0, {}, {}, self.took)


class Rig:
    """The whole system; ``file`` is the copy of the artifact that dockerd starts as its proxy."""

    def __init__(self, artifact: Path, engine: Engine, directory: Path) -> None:
        self.artifact = artifact
        self.file = directory / "envoy-docker-shim"
        shutil.copy2(artifact, self.file)
        self.stack: Stack = stack_with(self.file, engine)

    @contextmanager
    def running(self) -> Iterator["Rig"]:
        with self.stack:
            self.dockerd.run_http("hello", "-p", "8080:80", name="web", labels={"ServiceName": "shop"})
            self.dockerd.run_tcp_echo("-p", "5432:7", name="db", labels={"ProxyMode": "tcp"})
            self.dockerd.run_udp_echo("-p", "5353:7/udp", name="names")
            self.stack.get(8080)
            led_to_envoy(self.stack, 8080, 5432)
            yield self

    @property
    def host(self) -> Host:
        return self.stack.host

    @property
    def dockerd(self) -> Any:
        return self.stack.dockerd

    @property
    def daemon_file(self) -> Path:
        return self.stack.dockerd.dir / "daemon.json"

    def run(
        self, *args: str, prefix: Sequence[str | Path] = (), env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """`doctor` on the host."""
        command = [*prefix, *([] if prefix else [self.artifact])]
        registrar = self.stack.registrar
        return subprocess.run(
            self.host.argv(*command, "doctor", *args, "--config", registrar.config),
            env={**registrar.env, **(env or {})},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def report(self, **how: Any) -> Report:
        began = time.monotonic()
        done = self.run("--json", **how)
        assert done.stderr == "", done.stderr
        report = json.loads(done.stdout)
        findings = {
            check["name"]: "; ".join(f"{f['what']} -> {f['cure']}" for f in check["findings"])
            for check in report["checks"]
            if check["findings"]
        }
        unknown = {check["name"]: check["why"] for check in report["checks"] if check["why"]}
        assert report["healthy"] == (done.returncode == 0)
        return Report(done.returncode, findings, unknown, time.monotonic() - began)

    def is_healthy(self) -> None:
        """Returns once nothing is found."""
        seen: list[Report] = []

        def look() -> bool:
            seen[:] = [self.report()]
            return seen[0].healthy

        try:
            eventually(look, 30, "doctor finds nothing", interval=0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}") from None

    def restart_registrar(self) -> None:
        self.stack.registrar.end()
        self.stack.registrar.start()
