"""How a fault is written: put in by a function up to its `yield`, and taken out by the rest of it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.docker.doctor.rig import Rig
from tests.harness.netns import Namespace
from tests.harness.wait import eventually

Making = Callable[[Rig], AbstractContextManager[None]]


class Fault(NamedTuple):
    """One row.  ``says``: words of the finding and its cure; ``also``: checks that find it too."""

    check: str
    put_in: Making
    says: tuple[str, ...]
    also: frozenset[str] = frozenset()


FAULTS: dict[str, Fault] = {}


def fault(
    check: str, *says: str, also: tuple[str, ...] = ()
) -> Callable[[Callable[[Rig], Iterator[None]]], None]:
    """The decorator of a row."""

    def add(making: Callable[[Rig], Iterator[None]]) -> None:
        name = making.__name__.replace("_", "-")
        FAULTS[name] = Fault(check, _undone(making), says, frozenset(also))

    return add


def _undone(making: Callable[[Rig], Iterator[None]]) -> Making:
    """What comes after `yield` is done also where the test has failed."""

    @contextmanager
    def put_in(rig: Rig) -> Iterator[None]:
        steps = making(rig)
        next(steps)
        try:
            yield
        finally:
            next(steps, None)

    return put_in


@contextmanager
def other_text(file: Path, text: str) -> Iterator[None]:
    """Another content for as long; the time when it was written comes back too."""
    before, times = file.read_text(), file.stat()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextmanager
def container(rig: Rig, *options: str, cmd: tuple[str, ...], **labels: str) -> Iterator[None]:
    rig.dockerd.run("--name=patient", *options, cmd=cmd, labels=labels)
    try:
        yield
    finally:
        rig.dockerd.docker("rm", "--force", "patient")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def rules(rig: Rig, *commands: str, undo: str) -> Iterator[None]:
    for command in commands:
        rig.host.run("sh", "-c", command)
    try:
        yield
    finally:
        rig.host.run("sh", "-c", undo)


@contextmanager
def squatter(place: Namespace, port: int) -> Iterator[int]:
    """Another program that listens; yields its process."""
    process = place.popen(["busybox", "nc", "-ll", "-p", str(port), "-e", "true"])
    try:
        eventually(lambda: listens(place, port), what=f"port {port} is taken")
        yield process.pid
    finally:
        process.kill()
        process.wait(10)


def listens(place: Namespace, port: int) -> bool:
    with place.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
