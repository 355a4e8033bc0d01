"""`top` and `status --watch` of the built file, at a terminal and without one."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.harness.fake_dockerd import FakeDockerd, make_container
from tests.harness.proxy import flags, start_proxy
from tests.harness.registrar import LoopbackRegistrar, free_ports
from tests.harness.wait import eventually

PATIENCE = 20.0  # seconds
EVIL, SHOWN = "x\x1b]0;you\x07are mine", "x ]0;you are mine"
ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """One of our commands at a terminal of this size."""

    def __init__(self, registrar: LoopbackRegistrar, *words: str, **env: str) -> None:
        argv = [str(registrar.artifact), *words, "--config", str(registrar.config)]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
            os.execve(argv[0], argv, {**registrar.env, "TERM": "xterm", "COLUMNS": "80", **env})
        self.seen = ""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def wait(self, until: str) -> str:
        """What is to be seen up to this text; it is forgotten."""
        deadline = time.monotonic() + PATIENCE
        while until not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, (until, self.seen)
            self.seen += os.read(self.fd, 65536).decode()
        before, _, self.seen = self.seen.partition(until)
        return before

    def screen(self) -> list[str]:
        """The lines of the next screen that is drawn whole."""
        self.wait("\x1b[H")
        return [line.removesuffix("\x1b[K") for line in self.wait("\x1b[J").split("\r\n")]

    def until(self, shows: Callable[[list[str]], bool]) -> None:
        """Wait for a screen that shows it: one may have been drawn just before a key came."""
        deadline = time.monotonic() + PATIENCE
        while not shows(screen := self.screen()):
            assert time.monotonic() < deadline, screen

    def ended(self) -> int:
        """Its exit status; the screen of before is there again, and lines are typed as before."""
        self.wait(BACK)
        assert termios.tcgetattr(self.fd)[3] & termios.ECHO
        with_status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(with_status)


@pytest.fixture(scope="module")
def registrar(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackRegistrar]:
    """With two containers, one of them of a hostile name; without Envoy, so that neither is served."""
    found = LoopbackRegistrar(artifact, tmp_path_factory.mktemp("top"))
    ports = free_ports(2)
    docker = FakeDockerd(f"{found.directory}/docker.sock")
    docker.containers = [
        make_container(
            name, (f"172.17.0.{at}",), (("tcp", ports[at]),), f"{at:064x}", {"ServiceName": service}
        )
        for at, (name, service) in enumerate({"web-1": "web", "evil-1": EVIL}.items())
    ]
    threading.Thread(target=trio.run, args=(docker.serve,), daemon=True).start()
    with found.running():
        found.wait_until_healthy()
        env = {**os.environ, "SHIM_SOCKET": str(found.socket)}
        args = [flags("tcp", ("127.0.0.1", port), (f"172.17.0.{at}", 80)) for at, port in enumerate(ports)]
        with start_proxy(artifact, args[0], env=env), start_proxy(artifact, args[1], env=env):
            eventually(lambda: {row["state"] for row in found.bindings()} == {"published"}, 20, "labels")
            yield found


@contextmanager
def at_terminal(registrar: LoopbackRegistrar, *words: str, **env: str) -> Iterator[Terminal]:
    terminal = Terminal(registrar, *words, **env)
    try:
        terminal.wait(ALTERNATE)
        yield terminal
    finally:
        try:
            os.kill(terminal.pid, signal.SIGKILL)
            os.waitpid(terminal.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def names(screen: list[str]) -> list[str]:
    return [line.split("  ")[0] for line in screen if "published" in line or line.startswith(("web", "x"))]


def test_it_is_drawn_in_place_and_obeys_keys(registrar: LoopbackRegistrar) -> None:
    with at_terminal(registrar, "top", NO_COLOR="1") as terminal:
        screen = terminal.screen()
        assert "2 services" in screen[0] and screen[1].startswith("! no Envoy is connected")
        assert screen[-1].startswith("q quit; sorted by: s service")
        terminal.type("s")
        terminal.until(lambda screen: names(screen) == ["web", SHOWN])
        terminal.type("s")
        terminal.until(lambda screen: names(screen) == [SHOWN, "web"])
        terminal.resize(40, 10)
        terminal.until(lambda screen: len(screen) <= 10 and max(map(len, screen)) <= 40)
        assert not any("\x1b" in line for line in terminal.screen())
        terminal.type("q")
        assert terminal.ended() == 0


def test_colours_show_what_is_not_served_yet(registrar: LoopbackRegistrar) -> None:
    with at_terminal(registrar, "top") as terminal:
        assert sum(line.startswith("\x1b[33m") for line in terminal.screen()) == 2
        terminal.type("\x03")
        assert terminal.ended() == 0


def test_so_many_rounds_and_no_more(registrar: LoopbackRegistrar) -> None:
    with at_terminal(registrar, "top", "-n", "2", "--every", "0.1") as terminal:
        assert terminal.ended() == 0


@pytest.mark.parametrize("end", ["q", "\x03"])
def test_the_status_is_drawn_again_with_what_is_wrong_on_top(registrar: LoopbackRegistrar, end: str) -> None:
    with at_terminal(registrar, "status", "--watch", "0.2") as terminal:
        screen = terminal.screen()
        assert screen[0].startswith("registrar ") and screen[1].startswith("! no Envoy is connected")
        # What else is on it may change: it looks at all shims of this machine.
        assert terminal.screen()[:2] == screen[:2]
        terminal.type(end)
        assert terminal.ended() == 1


def test_without_a_terminal_a_table_is_printed_and_that_is_all(registrar: LoopbackRegistrar) -> None:
    done = registrar.command("top")
    assert "\x1b" not in done.stdout and names(done.stdout.splitlines()) == ["web", SHOWN]
    assert "last 10 s" in done.stdout
    twice = registrar.command("top", "-n", "2", "--every", "0.1", "--sort", "p95")
    assert twice.stdout.count("SERVICE") == 2


def test_one_service_is_picked_by_name_and_none_that_is_not_there(registrar: LoopbackRegistrar) -> None:
    for name in ("web", "web-1"):
        assert names(registrar.command("top", name).stdout.splitlines()) == ["web"]
    done = registrar.command("top", "nothing", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "envoy-docker-shim: no service, container or cluster is called nothing\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["top", "--sort", "luck"], "argument --sort: invalid choice: 'luck'"),
        (["top", "--every", "0"], "--every 0: from 0.1 to 3600 seconds"),
        (["top", "--every", "nan"], "--every nan: from 0.1 to 3600 seconds"),
        (["top", "-n", "-1"], "--rounds -1: must not be below 0"),
        (["status", "--watch", "0"], "--watch 0: from 0.1 to 3600 seconds"),
        (["status", "--watch", "1", "--json"], "--watch is for people, --json for programs"),
    ],
)
def test_bad_usage_is_named(registrar: LoopbackRegistrar, words: list[str], said: str) -> None:
    done = registrar.command(*words, check=False)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1]


def test_without_a_registrar_it_says_so(artifact: Path, tmp_path: Path) -> None:
    nobody = LoopbackRegistrar(artifact, tmp_path)
    done = nobody.command("top", check=False)
    assert done.returncode == 1 and "the registrar does not answer on" in done.stderr


def test_a_reader_that_leaves_is_no_error(registrar: LoopbackRegistrar) -> None:
    command = f"'{registrar.artifact}' status --watch 0.1 --config '{registrar.config}' | head -1"
    done = subprocess.run(
        ["sh", "-c", command], check=True, env=registrar.env, capture_output=True, timeout=60
    )
    assert done.stdout.startswith(b"STATE") and done.stderr == b""
