"""Does the steps of a plan in order, and takes them back in the reverse order when one fails."""

import contextlib
import copy
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from shim.core.setup import places
from shim.core.setup.facts import FileState, Port
from shim.core.setup.record import Record
from shim.core.setup.steps import (
    AwaitDocker,
    AwaitEnvoy,
    AwaitPorts,
    ClearDockerRules,
    ClearTable,
    CompleteDockerRules,
    Copy,
    MakeUser,
    Remove,
    RemoveUser,
    StartUnits,
    Step,
    StopUnits,
    SwitchDocker,
    Write,
)
from shim.setup import files
from shim.setup.docker_api import DockerApi
from shim.setup.docker_switch import Switch
from shim.setup.serving import ReadStatus, await_docker, await_envoy, await_ports
from shim.setup.strict import clear_docker_rules, complete_docker_rules, restore_all
from shim.setup.tools import SetupError, last_words, run, succeeds, systemctl, unit


class Doing:
    """The steps of one plan.  ``record`` is what is kept on the disk; ``say`` gets a line a step."""

    def __init__(
        self,
        record: Record,
        status: ReadStatus,
        clear_table: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._record, self._clear, self._tell = record, clear_table, say
        self._undo: list[tuple[str, Callable[[], None]]] = []
        self._kept: list[str] = []
        self._units_changed = self._units_started = False
        self._undoes = False
        self._does: dict[type, Callable[[Any], None]] = {
            Write: self._write,
            Copy: self._copy,
            MakeUser: self._make_user,
            StartUnits: self._start,
            AwaitEnvoy: lambda step: await_envoy(status),
            SwitchDocker: self._switch,
            AwaitPorts: lambda step: await_ports(step.ports, status, _published),
            AwaitDocker: lambda step: await_docker(step.ports),
            StopUnits: _stop,
            ClearTable: lambda step: clear_table(),
            ClearDockerRules: self._clear_rules,
            CompleteDockerRules: lambda step: complete_docker_rules(step.policies, step.networks),
            Remove: _remove,
            RemoveUser: lambda step: _remove_user(step.name),
        }

    def install(self, steps: Iterable[Step]) -> None:
        """All of them.  Raises SetupError, and then things are as they were, or the text says what is not."""
        self._undoes = True
        try:
            self._keep(places.RECORD)
            self._undo.append(("units", self._units_as_before()))
            self._save()
            self._each(steps)
            self._save()
        except (SetupError, OSError) as error:
            raise SetupError(f"{error}{self._all_back()}") from None
        except BaseException:
            self._say(f"interrupted{self._all_back()}")
            raise
        for path in self._kept:
            files.forget(path)

    def uninstall(self, steps: Iterable[Step]) -> None:
        """All of them.  Raises SetupError at the first that fails: it can be done again from there."""
        self._each(steps)

    def _each(self, steps: Iterable[Step]) -> None:
        for number, step in enumerate(steps, 1):
            began = time.monotonic()
            self._do(step)
            self._say(f"{number}. done, {time.monotonic() - began:.1f} s")

    def _all_back(self) -> str:
        """Undo, whatever happens meanwhile; returns how that went."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._say("undoing it")
        failed = []
        for what, undo in reversed(self._undo):
            try:
                undo()
            except Exception as error:  # one that fails must not keep the others from being done
                failed.append(f"{what}: {error}")
        for path in self._kept:
            with contextlib.suppress(SetupError):
                files.forget(path)
        if failed:
            return f"; NOT undone: {'; '.join(failed)}"
        return "; all is as it was before"

    def _say(self, line: str) -> None:
        """Whoever reads it may be gone, or the disk full: the steps go on."""
        with contextlib.suppress(OSError):
            self._tell(line)

    def _do(self, step: Step) -> None:
        """One step.  Raises SetupError."""
        self._does[type(step)](step)

    def _write(self, step: Write) -> None:
        self._keep(step.path)
        files.write(step.path, FileState(step.content, step.mode))
        self._units_changed |= step.path.startswith(places.UNITS)

    def _copy(self, step: Copy) -> None:
        self._keep(step.path)
        files.copy(step.path, step.source, step.mode)

    def _make_user(self, step: MakeUser) -> None:
        _make_user(step)
        self._undo.append((str(step), lambda: _remove_user(step.name)))

    def _keep(self, path: str) -> None:
        """What is there now can be put back; directories to it are there."""
        made = files.directories_to(path)
        self._record.directories += made
        files.keep(path)
        self._kept.append(path)

        def undo() -> None:
            files.put_back(path)
            for folder in reversed(made):
                files.remove_directory(folder)

        self._undo.append((path, undo))

    def _units_as_before(self) -> Callable[[], None]:
        """What undoes the units: done last, when their files are as they were."""
        states = {
            name: unit(name, "ActiveState", "UnitFileState") for name in (places.REGISTRAR, places.ENVOY)
        }

        def undo() -> None:
            if self._units_changed:
                systemctl("daemon-reload")
            for name, state in states.items():
                if state["ActiveState"] == "active" and self._units_started:
                    systemctl("restart", name)

        return undo

    def _start(self, step: StartUnits) -> None:
        if self._units_changed:
            systemctl("daemon-reload")
        disabled = [name for name in step.units if unit(name, "UnitFileState")["UnitFileState"] != "enabled"]
        stopped = [name for name in step.units if unit(name, "ActiveState")["ActiveState"] != "active"]

        def undo() -> None:
            for name in disabled:
                succeeds(["systemctl", "disable", name])
            for name in reversed(stopped):
                succeeds(["systemctl", "stop", name])
                succeeds(["systemctl", "reset-failed", name])
            if places.REGISTRAR in stopped:
                self._clear()
                files.remove_tree(places.RUN)

        self._undo.append((str(step), undo))
        self._units_started = True
        systemctl("enable", *step.units)
        for name in step.units:
            try:
                systemctl("restart" if name in step.restarted else "start", name)
            except SetupError:
                raise SetupError(f"{name} does not start: {last_words(name)}") from None

    def _switch(self, step: SwitchDocker) -> None:
        made = files.directories_to(step.path)
        self._record.directories += made
        switch = Switch(step, DockerApi())
        self._undo.append((str(step), switch.back))
        known = self._record.settings
        if known is not None and step.borrow:
            known.borrowing = True
            self._save()
        try:
            switch.there()
        except SetupError:
            if not self._undoes:  # as it is from then on, it was before
                switch.back()
                if known is not None:
                    known.borrowing = False
                    self._save()
            raise
        if known is not None and step.restart:
            known.waits, known.borrowing = "", False
            self._save()

    def _clear_rules(self, step: ClearDockerRules) -> None:
        before, policies = clear_docker_rules(step.networks)
        self._undo.append((str(step), lambda: restore_all(before)))
        self._record.forward = self._record.forward or policies
        self._save()

    def _save(self) -> None:
        record = copy.deepcopy(self._record)
        files.write(places.RECORD, FileState(record.as_json(), 0o600))


def _published() -> Iterable[Port]:
    return [port for container in DockerApi().containers() for port in container.ports]


def _make_user(step: MakeUser) -> None:
    group = ["--gid", step.name] if step.group_exists else ["--user-group"]
    home = ["--home-dir", "/nonexistent", "--no-create-home"]
    run(["useradd", "--system", "--shell", "/usr/sbin/nologin", *home, *group, step.name])


def _remove_user(name: str) -> None:
    if succeeds(["getent", "passwd", name]):
        run(["userdel", name])


def _stop(step: StopUnits) -> None:
    for name in step.units:
        succeeds(["systemctl", "disable", "--now", name])


def _remove(step: Remove) -> None:
    for path in step.files:
        files.remove(path)
    for path in step.directories:
        files.remove_directory(path)
    if any(path.startswith(places.UNITS) for path in step.files):
        systemctl("daemon-reload")
    # Only what failed is known to systemd still.
    if os.path.isdir("/run/systemd/system"):
        succeeds(["systemctl", "reset-failed", places.REGISTRAR, places.ENVOY])
    # The record is in one of them: what fails before can be done again.
    for path in step.trees:
        files.remove_tree(path)
