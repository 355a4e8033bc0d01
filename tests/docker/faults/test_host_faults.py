"""The host misbehaves: its clock jumps, its disks are full."""

import datetime
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.engines import Engine
from tests.harness.netns import run
from tests.harness.registrar import HostRegistrar
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

DAY = 86400
LIBFAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"


# -- the clock -----------------------------------------------------------------------------------------


class Clock:
    """The registrar's wall clock; its monotonic one is the machine's."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.env = {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }
        self.jump(0)

    def jump(self, days: int) -> None:
        """So far from the real time."""
        following = self._file.with_suffix(".new")
        following.write_text(f"{days * DAY:+d}\n")
        following.replace(self._file)


def age(binding: dict[str, str], days: int) -> float:
    """How long a binding says it has been in its state, on a clock so many days off."""
    since = datetime.datetime.fromisoformat(binding["since"]).timestamp()
    return time.time() + days * DAY - since


def test_a_clock_that_jumps_changes_nothing_but_what_it_shows(artifact: Path, engine: Engine) -> None:
    """... because leases, polls and deadlines are counted on the monotonic one."""
    with Stack(artifact, engine) as stack:
        clock = Clock(stack.host.dir)
        stack.registrar.end()
        stack.registrar.env.update(clock.env)
        stack.registrar.start()
        stack.dockerd.run_http("stays", "-p", "8080:80", name="stays")
        stack.get(8080)
        stack.binding(8080)
        updates = stack.envoy.stats("listener_manager.listener_(added|modified|removed)")
        attempts = "listener_manager.lds.update_attempt"
        for days in (3, -3, 400, 0):
            clock.jump(days)
            assert -2 < age(stack.binding(8080), days) < 60
            polls = stack.envoy.stats(attempts)[attempts]
            stack.dockerd.run_http("new", "-p", "8081:80", name="new")
            assert stack.get(8081).text == "new\n"
            began = time.monotonic()
            stack.dockerd.docker("rm", "--force", "new")
            assert time.monotonic() - began < 2 * 2  # no release was waited for in vain
            assert {b["port"] for b in stack.registrar.bindings()} == {8080}
            assert stack.get(8080).text == "stays\n"
            # Held polls neither end at once nor are asked again and again.
            assert stack.envoy.stats(attempts)[attempts] - polls < 10
        now = stack.envoy.stats("listener_manager.listener_(added|modified|removed)")
        assert {name: now[name] - updates[name] for name in now if name.endswith(("added", "removed"))} == {
            "listener_manager.listener_added": 2 * 4,
            "listener_manager.listener_removed": 2 * 4,
        }
        assert now["listener_manager.listener_modified"] == updates["listener_manager.listener_modified"]


# -- full disks ----------------------------------------------------------------------------------------


@pytest.fixture
def full(stack: Stack) -> Iterator[Path]:
    """A directory on a file system with no space left, not even for a directory entry."""
    directory = stack.host.dir / "full"
    directory.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "tmpfs", directory])
    try:
        for number in range(16):
            try:
                (directory / f"filler-{number}").write_bytes(b"x" * 65536)
            except OSError:
                pass
        yield directory
    finally:
        run(["umount", "--lazy", directory])


@pytest.fixture
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as running:
        yield running


def serves(stack: Stack) -> None:
    """A container starts, is served, and goes."""
    stack.dockerd.run_http("hello", "-p", "8080:80", name="box")
    assert stack.get(8080).text == "hello\n"
    stack.binding(8080)
    stack.dockerd.docker("rm", "--force", "box")
    assert stack.registrar.bindings() == []


def test_a_registrar_that_cannot_unpack_or_log_runs_all_the_same(stack: Stack, full: Path) -> None:
    """It runs out of its file, and what it would log is lost."""
    assert stack.registrar.end() == 0
    stack.registrar.env["SHIV_ROOT"] = str(full / "cache")
    stack.registrar.log = Path("/dev/full")
    stack.registrar.start()
    assert not (full / "cache").exists()
    serves(stack)
    status = stack.registrar.command("status")
    assert (status.returncode, status.stderr) == (0, "")
    # Its other modules come from the file, too: from nowhere else, in this environment.
    assert str(full) not in Path(f"/proc/{stack.registrar.pid}/maps").read_text()
    # Python's own word for a stream that it could not flush.
    assert stack.registrar.end() == 120


def test_a_registrar_with_no_room_for_its_socket_says_so_and_docker_run_works(
    stack: Stack, full: Path
) -> None:
    """The port is served once there is room."""
    registrar = stack.registrar
    assert registrar.end() == 0
    other = HostRegistrar(stack.host, registrar.artifact, stack.dockerd.docker_host, {})
    other.env["SHIM_SOCKET"] = str(full / "registrar.sock")
    stopped = other.command("server", check=False)
    assert stopped.returncode == 1
    assert "No space left on device" in stopped.stderr and "Traceback" not in stopped.stderr
    stack.dockerd.run_http("early", "-p", "8080:80", name="early")
    for filler in full.glob("filler-*"):
        filler.unlink()
    other.start()
    try:
        assert stack.get(8080).text == "early\n"
        eventually((full / "registrar.sock").exists)
    finally:
        assert other.end() == 0
