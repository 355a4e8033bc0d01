"""dockerd has our settings for as long as `up` runs, and its own again when that ends.

What it had before is kept in a copy beside its file, as `install` keeps it, for the case that `up` is killed:
the next one takes it from there.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shim.core.setup import daemon_json, places
from shim.core.setup.daemon_json import ABSENT, LIVE_RESTORE, PROXY_PATH, Change
from shim.core.setup.facts import DockerFacts
from shim.core.setup.json_text import BrokenJson
from shim.core.setup.settings import switched
from shim.setup import files
from shim.setup.docker_api import DockerApi
from shim.setup.docker_switch import Switch
from shim.setup.look import SETTINGS, content_of, look_at_docker, read_file, systemd_runs
from shim.setup.tools import SetupError, run

INIT_SCRIPT = "/etc/init.d/docker"


@dataclass
class LentSettings:
    """``file`` is what dockerd is to start for each port; ``say`` tells the user a line."""

    file: str
    say: Callable[[str], None]
    _path: str = SETTINGS
    _before: bytes | None = None
    _after: bytes = b""
    _changes: list[Change] = field(default_factory=list)

    def lend(self) -> None:
        """Change the settings and restart Docker, if need be.  Raises SetupError, with all as it was."""
        if os.path.exists(places.RECORD):
            raise SetupError(
                "--configure-docker: this host is set up by `install` already; run `up` without it"
            )
        docker = _look()
        self._path = docker.settings_path
        text = _decoded(docker.settings.content if docker.settings else None)
        try:
            self._work_out(docker, text)
        except BrokenJson as error:
            raise SetupError(f"{self._path} is not valid: {error}") from None
        if docker.settings and self._before is not None:
            files.write(self._path + places.KEPT, docker.settings._replace(content=self._before))
        self._switch(docker, self._after, "; ".join(map(str, self._changes)))

    def _work_out(self, docker: DockerFacts, text: str) -> None:
        settings = daemon_json.wanted(self.file, strict=False)
        self._before = docker.settings.content if docker.settings else None
        if not daemon_json.changes(text, settings):
            # Of an `up` that was killed.
            self._before = docker.kept
            if docker.kept is None or not _is_made_of(docker.kept, text, settings):
                back, _ = daemon_json.unmerge(text, [Change(PROXY_PATH, ABSENT, self.file)])
                self._before = back.encode() if back.strip(" \n{}") else None
        before = _decoded(self._before)
        self._changes = daemon_json.changes(before, settings)
        self._after = daemon_json.merge(before, self._changes).encode()

    def give_back(self) -> None:
        """As it was; what others have changed since stays.  Raises SetupError."""
        docker = _look()
        after = self._before
        if docker.settings is not None and docker.settings.content != self._after:
            try:
                back, others = daemon_json.unmerge(_decoded(docker.settings.content), self._changes)
            except BrokenJson as error:
                raise SetupError(f"{self._path} is not valid, and stays as it is: {error}") from None
            after = back.encode()
            for key in others:
                self.say(f'{self._path} has another "{key}" than ours by now: it stays')
        self._switch(docker, after, "as it was before")
        files.remove(self._path + places.KEPT)

    def _switch(self, docker: DockerFacts, after: bytes | None, what: str) -> None:
        now = docker.settings.content if docker.settings else None
        step = switched(docker, after, what if after != now else "", None, restart=True)
        self.say(str(step) or f"{self._path} is as it has to be")
        switch = Switch(step, DockerApi())
        files.directories_to(self._path)
        try:
            switch.there()
        except SetupError:
            switch.back()
            raise
        if docker.process:
            return
        if not systemd_runs() and os.path.exists(INIT_SCRIPT) and shutil.which("service"):
            self.say("restart Docker, by its init script: containers stop, unless live-restore is on")
            run(["service", "docker", "restart"])
        else:
            self.say("Docker has to be restarted for it: do that now, the way you start it")


def _look() -> DockerFacts:
    if systemd_runs():
        docker = look_at_docker()
        if docker.installed:
            return docker
    path = os.path.realpath(SETTINGS)
    return DockerFacts(settings_path=path, settings=read_file(path), kept=content_of(path + places.KEPT))


def _is_made_of(kept: bytes, text: str, settings: dict[str, Any]) -> bool:
    """Whether the file is this copy with our settings, and nobody has changed it since.

    live-restore may be in it for a restart only.
    """
    before = _decoded(kept)
    made = daemon_json.merge(before, daemon_json.changes(before, settings))
    return text in (made, *(daemon_json.put(made, LIVE_RESTORE, on) for on in (True, False)))


def _decoded(content: bytes | None) -> str:
    try:
        return (content or b"").decode()
    except UnicodeDecodeError as error:
        raise SetupError(f"dockerd's settings are not valid: byte {error.start} is no UTF-8") from None
