"""The whole system with an Envoy of a user of its own, and programs of other users beside it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.harness import envoy as harness
from tests.harness.engines import Engine
from tests.harness.envoy import Envoy
from tests.harness.host import Host
from tests.harness.stack import Stack

ROOT, NOBODY = 0, 65534
ENVOY = 101  # as in Envoy's own container image


class Stacked(Stack):
    """``user`` is Envoy's."""

    def __init__(
        self,
        artifact: Path,
        engine: Engine | str = "20.10",
        *dockerd_args: str,
        user: int = ENVOY,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(artifact, engine, *dockerd_args, settings=settings)
        self.envoy = self.envoy_of(user)

    def envoy_of(self, user: int, name: str = "envoy") -> Envoy:
        """An Envoy of that user's, not started."""
        made = self.another_envoy(name, self.bootstrap)
        os.chown(made.config.parent, user, user)
        made.log.touch()
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        as_user += ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
        command = made._command
        at = command.index(str(harness.binary()))
        # The interpreter's directory may be root's alone.
        made._command = [*command[:at], *as_user, str(reachable_envoy(self.host)), *command[at + 1 :]]
        return made


def reachable_envoy(host: Host) -> Path:
    """Envoy's program where any user may run it."""
    place = host.dir / "envoy-program"
    if not place.exists():
        try:
            os.link(harness.binary(), place)
        except OSError:
            shutil.copy(harness.binary(), place)
    return place


@contextmanager
def program(host: Host, module: ModuleType, *args: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A module of this directory, run as a program on ``host``."""
    assert module.__file__ is not None
    command = [sys.executable, module.__file__, *map(str, args)]
    process = host.popen(command, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def said(process: "subprocess.Popen[bytes]") -> str:
    """The next line of what it says."""
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()
