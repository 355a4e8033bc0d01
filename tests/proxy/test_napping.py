"""UDP shims that park while they have no clients: the kernel, or the registrar, wakes them."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from shim.core.binding import Address
from shim.proxy.park import udp_script
from shim.registrar.wakeups import AGAIN, LATER, SOON, WakeUps, waiting_at
from shim.wire.words import LEASE_FD, NUDGE, PORT_FD, RELAY, WAKE_FD
from tests.builders import in_trio
from tests.harness.exposition import read
from tests.harness.proxy import Proxy, flags, free_port, start_proxy
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually

ROOT = Path(__file__).parents[2]
SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"]]
ARGS = ["-proto", "udp", "-host-ip", "a b", "-host-port", "*"]
URG = 1 << signal.SIGURG - 1
# The whole of a shim, but its clients are forgotten in a moment.
SHORT_SIGHTED = f"""#!{sys.executable} -IS
import sys
sys.path[:0] = [{str(ROOT)!r}, {sysconfig.get_path("purelib")!r}]
if sys.argv[1] == "relay":
    from shim.relay.main import main
    sys.exit(main(sys.argv[2:], idle=0.2, quiet=0.1))
from shim.proxy.start import main
main(sys.argv[0], sys.argv[1:])
"""


@contextmanager
def udp_socket(timeout: float = 20.0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(timeout)
        yield sock


# -- the shell -----------------------------------------------------------------------------------------


class Nap:
    """A shell with a shim's descriptors, whose relay only says how it was called."""

    def __init__(self, shell: list[str], directory: Path, port: socket.socket) -> None:
        relay = directory / "it's a relay"
        relay.write_text(f"#!/bin/sh\nprintf '%s|' \"$@\" >'{directory}/called'\nexec cat <&{LEASE_FD}")
        relay.chmod(0o755)
        self.called = directory / "called"
        self.lease, lease = os.pipe()
        wake, self.wake = os.pipe()
        wake_both = os.open(f"/proc/self/fd/{wake}", os.O_RDWR)
        # Python is gone: the file itself goes on, as after an upgrade.
        script = udp_script(str(relay)).replace(f"'{sys.executable}'", "/nonexistent/python")
        places = {LEASE_FD: lease, WAKE_FD: wake_both, PORT_FD: port.fileno()}
        self.process = subprocess.Popen(
            [sys.executable, "-IS", "-c", ARM.format(places=places), *shell, "-c", script, "name", *ARGS],
            pass_fds=places.values(),
        )
        for fd in (lease, wake, wake_both):
            os.close(fd)

    def is_parked(self) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & URG)

    def relays(self) -> bool:
        return self.called.exists() and self.called.read_text() == "relay|" + "|".join(ARGS) + "|"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.lease)
        os.close(self.wake)


# What shim.proxy.park.park_udp does before it becomes the shell.
ARM = f"""import fcntl, os, signal, sys
for there, fd in {{places}}.items():
    os.dup2(fd, there + 100)
for there in {{places}}:
    os.dup2(there + 100, there)
fcntl.fcntl({PORT_FD}, fcntl.F_SETOWN, os.getpid())
fcntl.fcntl({PORT_FD}, fcntl.F_SETSIG, signal.SIGURG)
fcntl.fcntl({PORT_FD}, fcntl.F_SETFL, fcntl.fcntl({PORT_FD}, fcntl.F_GETFL) | os.O_ASYNC)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(params=SHELLS, ids=" ".join)
def asleep(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Nap, socket.socket]]:
    with udp_socket() as port:
        nap = Nap(request.param, tmp_path, port)
        try:
            assert os.read(nap.lease, 100) == b"parked\n"
            assert nap.is_parked()
            yield nap, port
        finally:
            nap.end()


def test_a_datagram_turns_the_shell_into_the_relay(asleep: tuple[Nap, socket.socket]) -> None:
    nap, port = asleep
    with udp_socket() as client:
        eventually(lambda: client.sendto(b"anybody?", port.getsockname()) and nap.relays())


def test_so_does_the_registrars_word(asleep: tuple[Nap, socket.socket]) -> None:
    nap, _ = asleep
    os.write(nap.wake, b"nonsense\nrelay\n")
    eventually(nap.relays)


def test_it_ends_when_it_is_interrupted(asleep: tuple[Nap, socket.socket]) -> None:
    nap, _ = asleep
    nap.process.send_signal(signal.SIGINT)
    assert nap.process.wait(10) == 0


def test_it_ends_when_it_is_told_to(asleep: tuple[Nap, socket.socket]) -> None:
    nap, _ = asleep
    os.write(nap.wake, b"exit\n")
    assert nap.process.wait(10) == 0


def test_the_death_of_dockerd_is_told_and_does_not_deafen_it(asleep: tuple[Nap, socket.socket]) -> None:
    nap, port = asleep
    nap.process.send_signal(signal.SIGTERM)
    assert os.read(nap.lease, 100) == b"orphan\n"
    with udp_socket() as client:
        eventually(lambda: client.sendto(b"anybody?", port.getsockname()) and nap.relays())


# -- the whole shim ------------------------------------------------------------------------------------


class Published:
    """A shim on a free port, and its container."""

    def __init__(self, proxy: Proxy, port: int, backend: socket.socket) -> None:
        self.proxy = proxy
        self.address = ("127.0.0.1", port)
        self.backend = backend

    def is_parked(self) -> bool:
        status = Path(f"/proc/{self.proxy.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return self.proxy.argv()[1:2] == ["-c"] and bool(caught & URG)

    def serves(self, client: socket.socket, text: bytes) -> bool:
        client.sendto(text, self.address)
        data, flow = self.backend.recvfrom(100)
        self.backend.sendto(data, flow)
        return client.recv(100) == text


@contextmanager
def published(path: Path, registrar: str) -> Iterator[Published]:
    with udp_socket() as backend:
        port = free_port("udp", "127.0.0.1")
        args = flags("udp", ("127.0.0.1", port), backend.getsockname())
        env = {**os.environ, "SHIM_SOCKET": registrar}
        with start_proxy(path, args, env=env) as proxy:
            yield Published(proxy, port, backend)


@pytest.fixture
def short_sighted(tmp_path: Path) -> Path:
    path = tmp_path / "envoy-docker-shim"
    path.write_text(SHORT_SIGHTED)
    path.chmod(0o755)
    return path


@pytest.fixture
def deaf_registrar(tmp_path: Path) -> Iterator[str]:
    """One that takes every registration and then does nothing, as if it had died just after."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        yield str(tmp_path / "socket")


def test_it_parks_is_woken_by_a_datagram_and_relays_that_one_and_the_next(
    artifact: Path, deaf_registrar: str
) -> None:
    with published(artifact, deaf_registrar) as shim, udp_socket() as client:
        eventually(shim.is_parked)
        assert all(shim.serves(client, b"%d" % number) for number in range(100))
        assert shim.proxy.argv()[3] == "relay"
        assert shim.proxy.stop() == 0


def test_a_client_that_comes_at_once_is_served_at_once(artifact: Path, deaf_registrar: str) -> None:
    for _ in range(5):
        with published(artifact, deaf_registrar) as shim, udp_socket() as client:
            assert shim.serves(client, b"already?")


def test_an_interrupt_before_it_parks_ends_it_with_0(artifact: Path, deaf_registrar: str) -> None:
    with published(artifact, deaf_registrar) as shim:
        assert shim.proxy.stop() == 0


def test_it_does_not_park_without_a_registrar(artifact: Path, tmp_path: Path) -> None:
    with published(artifact, str(tmp_path / "nobody")) as shim, udp_socket() as client:
        eventually(lambda: shim.proxy.argv()[3:4] == ["relay"])
        assert shim.serves(client, b"still awake?")


def test_it_parks_again_when_its_clients_have_gone(short_sighted: Path, deaf_registrar: str) -> None:
    with published(short_sighted, deaf_registrar) as shim, udp_socket() as client:
        for number in range(3):
            eventually(shim.is_parked)
            assert shim.serves(client, b"round %d" % number)
        assert shim.proxy.stop() == 0


def test_what_it_relayed_is_counted_over_its_sleep_and_over_a_registrars_restart(
    artifact: Path, short_sighted: Path, tmp_path: Path
) -> None:
    registrar = LoopbackRegistrar(artifact, tmp_path)

    def counted(direction: str) -> float:
        wanted = {("direction", direction), ("address", f"127.0.0.1:{shim.address[1]}")}
        samples = read(registrar.read("/metrics").text).samples.items()
        name = "envoy_docker_shim_udp_datagrams_total"
        return sum(value for (found, labels), value in samples if found == name and wanted <= labels)

    with registrar.running():
        registrar.wait_until_healthy()
        with published(short_sighted, str(registrar.socket)) as shim, udp_socket() as client:
            for number in range(3):
                eventually(shim.is_parked)
                assert shim.serves(client, b"%d" % number)
            eventually(shim.is_parked)
            eventually(lambda: (counted("in"), counted("out")) == (3, 3))
            assert shim.serves(client, b"it is awake")
            registrar.end(signal.SIGKILL)
            # Without a registrar it does not sleep, and tells the next one of all that it did meanwhile.
            assert shim.serves(client, b"nobody counts")
            with registrar.running():
                eventually(lambda: counted("in") > 0)
                assert counted("in") == counted("out") <= 2


def test_what_comes_while_it_parks_is_not_lost(artifact: Path, short_sighted: Path, tmp_path: Path) -> None:
    """One datagram at a time, at moments that fall before, into, and after its parking."""
    registrar = LoopbackRegistrar(artifact, tmp_path)
    with registrar.running():
        registrar.wait_until_healthy()
        with published(short_sighted, str(registrar.socket)) as shim, udp_socket() as client:
            for number in range(12):
                assert shim.serves(client, b"%d" % number)
                # 0.2 s until the flow ends and 0.1 until it parks; a pause, not a wait for anything.
                time.sleep(0.29 + number / 300)


# -- the registrar's look -------------------------------------------------------------------------------


@in_trio
async def test_a_shim_that_missed_a_datagram_is_woken_soon_and_no_other_is() -> None:
    told: list[tuple[int, str]] = []
    wakeups = WakeUps(lambda lease_id, text: told.append((lease_id, text)))
    with udp_socket() as full, udp_socket() as empty, udp_socket() as client:
        others = [Address("udp", ip, full.getsockname()[1]) for ip in ("127.0.0.2", "::")]
        client.sendto(b"hello", full.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wakeups.run)
            wakeups.begun(1, Address("udp", *full.getsockname()))
            wakeups.begun(2, Address("udp", *empty.getsockname()))
            wakeups.begun(3)  # TCP
            for lease_id, other in enumerate(others, 4):
                wakeups.begun(lease_id, other)
            await trio.sleep(SOON + 0.01)
            assert told == [(1, RELAY)]
            full.recv(10)
            client.sendto(b"hello", empty.getsockname())
            await trio.sleep(LATER)
            nudges = [(lease_id, NUDGE) for lease_id in range(1, 6)]
            assert told[1:] == [(2, RELAY), *nudges]
            client.sendto(b"hello", full.getsockname())
            await trio.sleep(10 * AGAIN)
            assert told[7:] == nudges
            nursery.cancel_scope.cancel()


def test_the_kernels_table_is_read_as_proc_says() -> None:
    table = """   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid
  1: 00000000:1F90 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 5 2 0 0
  2: 0100007F:0035 00000000:0000 07 00000100:00000000 00:00000000 00000000     0        0 6 2 0 0
  3: 0100007F:9999 0100007F:0035 01 00000000:00000300 00:00000000 00000000     0        0 7 2 0 0
 14: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 07 00000000:00000001 00:0 0
"""
    waiting = [("0.0.0.0", 0x1F90), ("::1", 0x50)]
    assert list(waiting_at(table.splitlines())) == [("udp", *address) for address in waiting]
