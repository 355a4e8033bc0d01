"""Finding shims: by the whole command line, the owner, the namespace, and the pipes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shim.core.binding import Binding
from shim.host.procfs import (
    NAMESPACES,
    Shim,
    find_shims,
    flags_of,
    holds_its_port,
    open_control_pipes,
    start_time,
)
from shim.wire.words import MARK, NAME
from tests.builders import make_binding, make_flags, open_fds
from tests.harness.wait import eventually

FLAGS = make_flags()
PARKED = ["/bin/sh", "-c", f"{MARK}\ntrap ...", NAME, *FLAGS]
RELAYING = ["/usr/bin/python3", "-IS", "/usr/bin/docker-proxy", "relay", *FLAGS]
STARTING = ["python3", "-IS", "-c", 'exec(... "envoy-docker-shim" ...)', "/usr/bin/docker-proxy", *FLAGS]
GIVEN = [*FLAGS, "-use-listen-fd"]
WAITING = ["/bin/sh", "/usr/bin/docker-proxy", *GIVEN]


@pytest.mark.parametrize("argv", [PARKED, RELAYING, STARTING], ids=["parked", "relaying", "starting"])
def test_a_shim_is_known_in_each_of_its_forms(argv: list[str]) -> None:
    assert flags_of(argv) == FLAGS


def test_so_is_a_shell_that_waits_for_its_port_to_be_held(proc: "Proc") -> None:
    assert flags_of(WAITING) == GIVEN
    process = proc.add(7, WAITING)
    with (process / "status").open("a") as status:
        status.write("SigIgn:\t0000000000000002\n")
    proc.add(8, PARKED)
    assert [(shim.waiting, shim.ignored) for shim in find_shims(proc.root)] == [(True, 2), (False, 0)]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [""],
        ["envoy-docker-shim"],
        ["envoy-docker-shim", *FLAGS],
        ["docker-proxy", *FLAGS],
        PARKED[:4],
        [*PARKED[:2], "trap ...", *PARKED[3:]],
        [*PARKED[:2], f" {MARK}", *PARKED[3:]],
        [*PARKED[:3], "other", *FLAGS],
        [PARKED[0], "-x", *PARKED[2:]],
        ["vi", *PARKED],
        RELAYING[:4],
        [RELAYING[0], "-I", *RELAYING[2:]],
        [*RELAYING[:3], "server", *FLAGS],
        STARTING[:5],
        [*STARTING[:3], "other", *STARTING[4:]],
        ["grep", "-e", " ".join(PARKED)],
        ["sh", *WAITING[1:]],
        ["/bin/bash", *WAITING[1:]],
        ["/bin/sh", "docker-proxy", *GIVEN],
        ["/bin/sh", "/usr/bin/docker-proxy", *FLAGS],
        ["/bin/sh", "/usr/bin/docker-proxy", *GIVEN[2:]],
        ["/bin/sh", "/usr/bin/docker-proxy", "-use-listen-fd"],
    ],
)
def test_a_process_that_only_mentions_one_is_none(argv: list[str]) -> None:
    assert flags_of(argv) is None


@given(st.lists(st.sampled_from([*PARKED, *RELAYING, *STARTING, *WAITING]) | st.text()))
def test_any_command_line_has_flags_or_none_of_its_own_words(argv: list[str]) -> None:
    found = flags_of(argv)
    assert found is None or (found and argv[-len(found) :] == found)


class Proc:
    """A proc directory of our own making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.own = root / "self"
        (self.own / "ns").mkdir(parents=True)
        for kind in NAMESPACES:
            (self.own / "ns" / kind).touch()
        (self.own / "cgroup").write_text("0::/system.slice/envoy-docker-shim.service\n")
        for other in ("1234abc", "uptime", "sys"):
            (root / other).mkdir()

    def add(
        self,
        pid: int,
        argv: list[str],
        started: int = 5,
        comm: bytes = b"sh",
        foreign: str = "",
        uid: int | None = None,
        cgroup: str = "/system.slice/docker.service",
    ) -> Path:
        process = self.root / str(pid)
        (process / "ns").mkdir(parents=True)
        for kind in NAMESPACES:
            if kind == foreign:
                (process / "ns" / kind).touch()
            else:
                (process / "ns" / kind).hardlink_to(self.own / "ns" / kind)
        (process / "cgroup").write_text(f"0::{cgroup}\n")
        cmdline = "".join(f"{word}\0" for word in argv)
        (process / "cmdline").write_bytes(cmdline.encode("utf-8", "surrogateescape"))
        (process / "stat").write_bytes(b"%d (%s) S 1" % (pid, comm) + b" 0" * 17 + b" %d 0" % started)
        (process / "fd").mkdir()
        (process / "fd" / "6").touch()
        uid = os.geteuid() if uid is None else uid
        (process / "status").write_text(f"Name:\tsh\nPid:\t{pid}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        return process

    def found(self) -> list[int]:
        return [shim.pid for shim in find_shims(self.root)]


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


def test_shims_are_found_oldest_first_with_their_bindings(proc: Proc) -> None:
    udp = make_binding(port=53, ip="::", proto="udp", backend_ip="fd00::2")
    proc.add(7, PARKED, started=300)
    proc.add(9, [*RELAYING[:4], *make_flags(udp)], started=20)
    proc.add(8, STARTING, started=100)
    proc.add(10, ["bash"])
    found = list(find_shims(proc.root))
    assert [(shim.pid, shim.started) for shim in found] == [(9, 20), (8, 100), (7, 300)]
    assert [shim.binding for shim in found] == [udp, make_binding(), make_binding()]
    assert [shim.args for shim in found] == [make_flags(udp), FLAGS, FLAGS]


@pytest.mark.parametrize("comm", [b"a b", b"a) S 1 2 3 (b", b"()", b""])
def test_a_process_may_have_any_name(proc: Proc, comm: bytes) -> None:
    proc.add(7, PARKED, comm=comm)
    assert [shim.started for shim in find_shims(proc.root)] == [5]


def test_processes_that_lie_or_vanish_hide_nobody(proc: Proc) -> None:
    proc.add(1, PARKED)
    proc.add(2, PARKED, foreign="net")  # in another network namespace its port is not on this host
    proc.add(3, [*PARKED[:4], "-proto", "sctp"])
    proc.add(4, [*PARKED[:4], *FLAGS, "-host-port", "99999"])
    proc.add(5, [*PARKED[:4], *FLAGS, "-host-ip", "\udcff"])
    (proc.add(6, PARKED) / "stat").unlink()
    (proc.add(7, PARKED) / "stat").write_text("7 (sh) S 1 2")
    (proc.add(8, PARKED) / "cmdline").write_bytes(b"")
    (proc.add(9, PARKED) / "cmdline").write_bytes(b"\xff" * 100_000)
    (proc.add(10, PARKED) / "cmdline").unlink()
    (proc.add(11, PARKED) / "ns" / "net").unlink()
    (proc.root / "12").symlink_to("nowhere")
    proc.add(13, PARKED)
    proc.add(14, [*PARKED, "-v" * 10_000])
    (proc.add(15, PARKED) / "cgroup").unlink()
    assert proc.found() == [1, 13]


def test_another_users_process_is_no_shim_and_roots_is(proc: Proc) -> None:
    proc.add(7, PARKED, uid=65534)
    proc.add(8, PARKED, uid=0)
    assert proc.found() == [8]


def test_a_process_without_a_shims_pipe_is_none(proc: Proc) -> None:
    """A parked shell's own timer looks like it otherwise, and so does one that is only starting."""
    (proc.add(7, PARKED) / "fd" / "6").unlink()
    proc.add(8, PARKED)
    assert proc.found() == [8]


@pytest.mark.parametrize("kind", ["pid", "user"])
def test_root_in_a_container_of_the_hosts_network_is_no_shim(proc: Proc, kind: str) -> None:
    proc.add(7, PARKED, foreign=kind)
    proc.add(8, PARKED)
    assert proc.found() == [8]


@pytest.mark.parametrize("form", ["/docker/{}", "/system.slice/docker-{}.scope", "/machine/libpod-{}/x"])
def test_nor_is_one_in_a_container_that_has_all_of_the_hosts_namespaces(proc: Proc, form: str) -> None:
    """By its cgroup; where we are in a container ourselves, that one is no reason."""
    ours, other = form.format("0123456789abcdef" * 4), form.format("f" * 64)
    proc.add(7, PARKED, cgroup=ours)
    proc.add(8, PARKED, cgroup=other)
    assert proc.found() == []
    (proc.own / "cgroup").write_text(f"0::{ours}\n")
    assert proc.found() == [7]


def test_of_other_users_nothing_is_read_but_who_they_are(proc: Proc) -> None:
    process = proc.add(7, PARKED, uid=65534)
    (process / "cmdline").unlink()
    os.mkfifo(process / "cmdline")  # whoever opens it waits for ever
    assert proc.found() == []


@given(st.binary())
@example("\0".join([*PARKED[:4], *FLAGS]).encode())  # without the last NUL
def test_any_command_line_is_looked_at_without_harm(
    tmp_path_factory: pytest.TempPathFactory, cmdline: bytes
) -> None:
    made = Proc(tmp_path_factory.mktemp("proc", numbered=True))
    (made.add(7, []) / "cmdline").write_bytes(cmdline)
    assert made.found() in ([], [7])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def parked(tmp_path: Path) -> "Iterator[tuple[int, Binding]]":
    """A real shim, started as dockerd does, that found no registrar."""
    binding = make_binding(port=free_port(), ip="127.0.0.1")
    start = f'exec "{sys.executable}" -m shim "$@" 3>&1 1>/dev/null 2>&1'
    environ = {**os.environ, "SHIM_SOCKET": str(tmp_path / "none")}
    command = ["/bin/sh", "-c", start, "sh", *make_flags(binding)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environ) as process:
        try:
            assert process.stdout is not None and process.stdout.read() == b"0\n"
            yield process.pid, binding
        finally:
            process.kill()


def test_a_real_parked_shim_is_found_and_its_line_can_be_opened(parked: tuple[int, Binding]) -> None:
    pid, binding = parked
    shim = eventually(lambda: [shim for shim in find_shims() if shim.pid == pid])[0]
    assert (shim.binding, shim.args) == (binding, make_flags(binding))
    assert shim.started == start_time(Path("/proc", str(pid)))
    lease, wake = open_control_pipes(shim)
    os.write(wake, b"exit\n")
    os.set_blocking(lease, True)
    assert os.read(lease, 100) == b""  # its end
    os.close(lease)
    os.close(wake)


def test_a_shim_holds_the_port_that_it_names(parked: tuple[int, Binding]) -> None:
    pid, binding = parked
    eventually(lambda: pid in [shim.pid for shim in find_shims()])
    _, ip, port = binding.address
    for other, holds in (
        (binding, True),
        (make_binding(port=port % 60000 + 1, ip=ip), False),
        (make_binding(port=port, ip="127.0.0.2"), False),
        (make_binding(port=port, ip=ip, proto="udp"), False),
    ):
        assert holds_its_port(Shim(pid, 0, [], other)) == holds, other


def test_a_process_without_a_socket_on_descriptor_8_holds_no_port() -> None:
    """... whatever else it has there, and also when it is gone."""
    with subprocess.Popen(["sh", "-c", "exec 8</dev/null; echo; read x"], **PIPES) as process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        before = open_fds()
        assert not holds_its_port(Shim(process.pid, 0, [], make_binding()))
        assert open_fds() == before
        process.communicate(b"\n")
    assert not holds_its_port(Shim(process.pid, 0, [], make_binding()))


@pytest.mark.parametrize("number", [6, 7])
def test_a_line_is_a_pair_of_pipes_or_none_at_all(tmp_path: Path, number: int) -> None:
    directory = tmp_path / "7" / "fd"
    directory.mkdir(parents=True)
    for name in (6, 7):
        os.mkfifo(directory / str(name))
    (directory / str(number)).unlink()
    shim = Shim(7, 5, FLAGS, make_binding())
    before = open_fds()
    with open(directory / str(13 - number), "rb+", buffering=0):
        with pytest.raises(OSError, match="No such file"):
            open_control_pipes(shim, tmp_path)
        (directory / str(number)).touch()
        with pytest.raises(OSError, match="has no pipe"):
            open_control_pipes(shim, tmp_path)
    assert open_fds() == before


PIPES: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
LIAR = f"{MARK}\nimport os\nos.setresuid(65534, 0, 0)\nprint('ready', flush=True)\nos.read(0, 1)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a set-user-id process")
def test_a_program_that_a_user_started_with_roots_rights_is_no_shim() -> None:
    """The arguments of a set-user-id program are its caller's, and so are its descriptors 6 and 7."""
    command = [sys.executable, "-c", LIAR, NAME, *FLAGS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        assert process.pid not in [shim.pid for shim in find_shims()]
        process.communicate(b"\n")
