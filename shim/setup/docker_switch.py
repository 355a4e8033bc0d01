"""Gives dockerd other settings: a restart that no container notices, with live-restore borrowed for it.

live-restore is what dockerd can learn by a reload.  Switched on for the restart, containers outlive it.  It
has to be switched off *explicitly* afterwards: where the key is only taken out again, dockerd goes on with
it in memory, and stops containers for good at its next restart.
"""

from dataclasses import dataclass

from shim.core.setup import daemon_json
from shim.core.setup.daemon_json import ABSENT, LIVE_RESTORE
from shim.core.setup.facts import FileState
from shim.core.setup.json_text import BrokenJson, parse
from shim.core.setup.steps import SwitchDocker
from shim.setup import files
from shim.setup.docker_api import DockerApi
from shim.setup.look import command_line, read_file
from shim.setup.tools import SetupError, last_words, run, succeeds, systemctl, unit
from shim.setup.wait import until

RELOADED = 5.0  # seconds in which dockerd takes a reload's settings


@dataclass
class Switch:
    """One change of settings, and how far it has come; `back` undoes it from there."""

    step: SwitchDocker
    api: DockerApi
    before: FileState | None = None
    begun: bool = False  # ``before`` is known; until then there is nothing to undo
    lent: bool = False  # live-restore is on in dockerd, and was not
    restarted: bool = False

    def there(self) -> None:
        """Raises SetupError, with the file as it was before if Docker has not been restarted yet."""
        step = self.step
        self.before, self.begun = read_file(step.path), True
        if not step.restart:
            self._write(step.after)
            return
        if step.borrow:
            self._write(_with_live_restore(step.after, True))
            self._validate()
            self._reload(True)
        else:
            self._write(step.after)
            self._validate()
        self.restarted = True
        _restart()
        if step.borrow:
            self._give_back(step.after)

    def back(self) -> None:
        """As it was, with a restart only if there was one.  Raises SetupError."""
        if not self.begun:
            return
        before = self.before.content if self.before else None
        if self.restarted:
            self._write(_with_live_restore(before, True) if self.step.borrow else before)
            try:
                _restart()
            except SetupError as error:
                self._write(before)
                raise SetupError(f"with its old settings, {self.step.path}, as well: {error}") from None
        if self.lent:
            self._give_back(before)
        self._write(before)

    def _give_back(self, content: bytes | None) -> None:
        self._write(_with_live_restore(content, False))
        self._reload(False)
        was = parse((content or b"").decode()).get(LIVE_RESTORE, ABSENT)
        if was is not False:
            self._write(content)

    def _reload(self, on: bool) -> None:
        self.lent = self.lent or on
        systemctl("reload", "docker.service")
        word = "on" if on else "off"

        def missing() -> str:
            # Engine 20.10 says only in its log what it does not like about the file.
            told = f"dockerd has not switched live-restore {word}: does it refuse {self.step.path}?"
            return "" if self.api.live_restore() is on else f"{told} (journalctl -u docker)"

        until(missing, RELOADED)
        self.lent = on

    def _validate(self) -> None:
        if not self.step.validate:
            return
        dockerd = command_line(int(unit("docker.service", "MainPID")["MainPID"]))[0]
        run([dockerd, "--validate", f"--config-file={self.step.path}"])

    def _write(self, content: bytes | None) -> None:
        if content is None:
            files.remove(self.step.path)
            return
        like = self.before or FileState(b"", self.step.mode)
        files.write(self.step.path, like._replace(content=content))


def _restart() -> None:
    # Otherwise a few restarts one after another, ours included, are too many for systemd.
    succeeds(["systemctl", "reset-failed", "docker.service"])
    try:
        systemctl("restart", "docker.service")
    except SetupError:
        raise SetupError(f"Docker does not start: {last_words('docker.service')}") from None


def _with_live_restore(content: bytes | None, on: bool) -> bytes:
    try:
        return daemon_json.put((content or b"").decode(), LIVE_RESTORE, on).encode()
    except BrokenJson as error:  # pragma: no cover - it has been read before
        raise SetupError(str(error)) from None
