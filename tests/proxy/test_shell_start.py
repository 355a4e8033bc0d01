"""A port that dockerd gives, started by a shell and a registrar: what is left, and all that can go wrong."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from shim.host.procfs import open_control_pipes
from shim.proxy.park import tcp_script
from shim.wire.words import LATE_SUFFIX, MARK, PORT_FD, START_SUFFIX, START_WAIT, STARTER_SUFFIX, WCHAN_SUFFIX
from tests.conftest import cannot
from tests.harness.proxy import Proxy, bound_socket, flags, free_port, refusal, start_proxy
from tests.harness.wait import eventually
from tests.proxy.starting import ENVOY, Starter, own_network, shim_on

__all__ = ["own_network"]  # a fixture

SHELLS = ["dash", "bash", "busybox"]
NOWHERE = ("127.0.0.1", 9)
# Far below what a shell waits for a registrar that is silent.
AT_ONCE = START_WAIT * 0.7
EVERY = 3  # one instant in so many is tried


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    with Starter(tmp_path / "it has $(a) space") as running:
        yield running


def start(
    artifact: Path, starter: Starter, proto: str = "tcp", ip: str = "127.0.0.1", shell: str = ""
) -> tuple[Proxy, int]:
    """As dockerd of Engine 28 does; and the port."""
    program = shutil.which(shell) if shell else ""
    if program is None:
        cannot(f"no {shell}")
    address = (ip, free_port(proto, ip))
    with bound_socket(proto, address) as listen:
        args = flags(proto, address, NOWHERE)
        return start_proxy(artifact, args, listen, env=starter.env, shell=program or ""), address[1]


def is_parked(proxy: Proxy) -> bool:
    argv = proxy.argv()  # empty in the middle of exec
    return argv[1:2] == ["-c"] and argv[2].startswith(MARK)


def traps(proxy: Proxy, number: signal.Signals) -> bool:
    _, _, rest = Path(f"/proc/{proxy.pid}/status").read_text().partition("SigCgt:")
    return bool(int(rest.split()[0], 16) & 1 << number - 1)


def open_files(proxy: Proxy) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{proxy.pid}/fd")}


def check_that_it_is_held(proxy: Proxy, port: int, ip: str = "127.0.0.1") -> None:
    """As after any start: Envoy's, nobody listens there, no other may, and a registrar finds it."""
    eventually(lambda: is_parked(proxy), what="it parks")
    assert os.stat(f"/proc/{proxy.pid}/fd/{PORT_FD}").st_uid == ENVOY
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ip, port), 5)
    with socket.socket() as stranger, pytest.raises(OSError, match="Address already in use"):
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((ip, port))
    shim = shim_on(port, ip)
    assert shim is not None and (shim.pid, shim.waiting) == (proxy.pid, False)
    for fd in open_control_pipes(shim):
        os.close(fd)


# -- a start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_what_parks_is_what_python_would_have_left(
    artifact: Path, starter: Starter, proto: str, shell: str
) -> None:
    proxy, port = start(artifact, starter, proto, shell=shell)
    with proxy:
        assert starter.instants() > 0
        eventually(lambda: is_parked(proxy), what="it parks")
        if proto == "tcp":
            assert proxy.argv()[2] == tcp_script(bytes(starter.socket))
            check_that_it_is_held(proxy, port)
        # None of dockerd's: the report, and the listening socket by another number; and no timer.
        assert open_files(proxy) & set(range(9)) == {0, 1, 2, 6, 7, 8}
        assert not Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text()
        assert not starter.beside(LATE_SUFFIX).exists()
        proxy.stop(signal.SIGKILL)


def test_an_ipv6_port_is_started_too(artifact: Path, starter: Starter) -> None:
    proxy, _ = start(artifact, starter, ip="::1")
    with proxy:
        assert starter.instants() > 0
        proxy.stop(signal.SIGKILL)


def test_a_udp_port_that_a_person_shares_is_refused_in_the_usual_words(
    artifact: Path, starter: Starter
) -> None:
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with socket.socket(type=socket.SOCK_DGRAM) as listen, socket.socket(type=socket.SOCK_DGRAM) as other:
        for sock in (other, listen):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        os.fchown(other.fileno(), 1000, -1)
        text = refusal(artifact, flags("udp", address, NOWHERE), listen, env=starter.env)
    assert "address already in use" in text
    assert starter.instants() > 0


def test_one_that_was_born_ignoring_sigint_still_ends_by_it(artifact: Path, starter: Starter) -> None:
    """A shell could not trap it: Python starts it, which can."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        proxy, _ = start(artifact, starter)
    finally:
        signal.signal(signal.SIGINT, before)
    starter.socket.with_name("registrar.sock.owner").unlink()  # then it waits for none that returns
    eventually(lambda: is_parked(proxy) and traps(proxy, signal.SIGINT), what="it parks")
    assert proxy.stop() == 0


# -- no registrar, or one that says nothing --------------------------------------------------------------


def test_where_the_registrar_is_gone_nobody_waits(artifact: Path, tmp_path: Path) -> None:
    """... whatever it left: here it was killed."""
    with Starter(tmp_path / "dir") as starter:
        pass
    assert starter.beside(STARTER_SUFFIX).is_symlink() and starter.beside(START_SUFFIX).is_fifo()
    began = time.monotonic()
    proxy, port = start(artifact, starter)
    with proxy:
        assert time.monotonic() - began < AT_ONCE
        check_that_it_is_held(proxy, port)
        proxy.stop(signal.SIGKILL)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_one_that_stands_still_is_not_asked(artifact: Path, starter: Starter, proto: str) -> None:
    starter.kill(signal.SIGSTOP)
    eventually(lambda: starter.beside(WCHAN_SUFFIX).read_text().endswith("_stop"), what="it is stopped")
    began = time.monotonic()
    proxy, port = start(artifact, starter, proto)
    with proxy:
        assert time.monotonic() - began < AT_ONCE
        if proto == "tcp":
            check_that_it_is_held(proxy, port)
        starter.kill(signal.SIGCONT)
        proxy.stop(signal.SIGKILL)
    assert not starter.instants(within=0.2)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_one_that_begins_to_hang_is_waited_for_once_on_a_host(
    artifact: Path, tmp_path: Path, proto: str
) -> None:
    """dockerd is told of a TCP port at once, and of a UDP port, which could be refused, when it is held."""
    with Starter(tmp_path / "dir", instant=1, number=signal.SIGSTOP) as starter:
        # It looks as if it ran.
        starter.beside(WCHAN_SUFFIX).unlink()
        began = time.monotonic()
        first, port = start(artifact, starter, proto)
        with first:
            took = time.monotonic() - began
            assert took < AT_ONCE if proto == "tcp" else START_WAIT < took < START_WAIT + 2
            eventually(starter.beside(LATE_SUFFIX).exists, START_WAIT + 2)
            second, _ = start(artifact, starter)
            with second:
                eventually(lambda: is_parked(second), AT_ONCE, "it parks")
                second.stop(signal.SIGKILL)
            # What the first had asked for comes too late, and changes nothing.
            starter.kill(signal.SIGCONT)
            assert starter.instants() > 0
            if proto == "tcp":
                check_that_it_is_held(first, port)
            first.stop(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_at_no_instant_of_a_start_can_the_registrar_leave_a_port_unheld(
    artifact: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """It dies, or stands still and goes on later: dockerd is answered in time, and the port is held."""
    with Starter(tmp_path / "all") as starter:
        proxy, _ = start(artifact, starter)
        count = starter.instants()
        proxy.stop(signal.SIGKILL)
    assert count > 30
    with ExitStack() as stack:
        instants = range(1, count + 1, EVERY)
        starters = [stack.enter_context(Starter(tmp_path / str(i), i, number)) for i in instants]

        def check(starter: Starter, ip: str) -> None:
            began = time.monotonic()
            proxy, port = start(artifact, starter, ip=ip)
            with proxy:
                assert time.monotonic() - began < START_WAIT + 3
                check_that_it_is_held(proxy, port, ip)
                if number == signal.SIGSTOP:
                    starter.kill(signal.SIGCONT)
                    starter.instants()
                    check_that_it_is_held(proxy, port, ip)
                proxy.stop(signal.SIGKILL)

        with ThreadPoolExecutor(len(starters)) as pool:
            # An address each: two may find the same port free at the same time.
            for done in [pool.submit(check, each, f"127.0.1.{n}") for n, each in enumerate(starters, 1)]:
                done.result()


# -- what others put in the way --------------------------------------------------------------------------


def fifo_of_a_person(path: Path) -> None:
    os.mkfifo(path, 0o600)
    os.chown(path, 1000, -1)


def link_to_another(path: Path) -> None:
    os.mkfifo(path.with_name("other"), 0o600)
    path.symlink_to("other")


@pytest.mark.parametrize(
    "put", [fifo_of_a_person, link_to_another, Path.touch, Path.mkdir, os.mkfifo, lambda path: None]
)
def test_whatever_stands_in_the_place_of_the_fifo_is_not_written_to(
    artifact: Path, starter: Starter, put: "object"
) -> None:
    assert callable(put)
    fifo = starter.beside(START_SUFFIX)
    fifo.unlink()
    put(fifo)
    began = time.monotonic()
    proxy, port = start(artifact, starter)
    with proxy:
        assert time.monotonic() - began < AT_ONCE
        check_that_it_is_held(proxy, port)
        proxy.stop(signal.SIGKILL)
    assert not fifo.is_file() or not fifo.read_bytes()


def test_only_root_can_write_there(starter: Starter) -> None:
    found = starter.beside(START_SUFFIX).stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)
    pid = os.fork()
    if not pid:
        try:
            os.setuid(1000)
            for suffix in (START_SUFFIX, STARTER_SUFFIX):
                try:
                    os.close(os.open(starter.beside(suffix), os.O_WRONLY | os.O_NONBLOCK))
                    os._exit(1)
                except PermissionError:
                    pass
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"\n\n\n",
        b"1\n%d\n" % os.getpid(),
        b"0\n-1\n99999999999999999999\n12a\n 7\n\xff\xfe\n\0\n",
        b"x" * 300_000 + b"\n",
        b"7" * 300_000 + b"\n",
        b"12",
    ],
    ids=["empty", "others", "numbers", "long", "digits", "half"],
)
def test_what_is_no_shell_that_waits_is_passed_over(artifact: Path, starter: Starter, text: bytes) -> None:
    with open(starter.beside(START_SUFFIX), "r+b", buffering=0) as fifo:
        fifo.write(text)
    if not text.endswith(b"\n"):  # it spoils the line of the shell that comes next, and no more
        proxy, port = start(artifact, starter)
        with proxy:
            check_that_it_is_held(proxy, port)
            proxy.stop(signal.SIGKILL)
        starter.beside(LATE_SUFFIX).unlink(missing_ok=True)
    proxy, port = start(artifact, starter)
    with proxy:
        assert starter.instants() > 0
        check_that_it_is_held(proxy, port)
        proxy.stop(signal.SIGKILL)


def test_a_fifo_that_is_full_is_emptied_and_the_next_shell_is_served(
    artifact: Path, starter: Starter
) -> None:
    fifo = os.open(starter.beside(START_SUFFIX), os.O_WRONLY | os.O_NONBLOCK)
    starter.kill(signal.SIGSTOP)
    written = 0
    try:
        while True:
            written += os.write(fifo, b"12a\n" * 1000)
    except BlockingIOError:
        pass
    finally:
        os.close(fifo)
    assert written > 100_000
    starter.kill(signal.SIGCONT)
    proxy, port = start(artifact, starter)
    with proxy:
        check_that_it_is_held(proxy, port)
        proxy.stop(signal.SIGKILL)
