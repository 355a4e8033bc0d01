"""Ports that a shell and a whole registrar start: what it knows of them, and how it mends its way to them."""

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import MODES
from shim.core.envoy.templates import Templates
from shim.host.procfs import Probes, Shim, find_shims
from shim.registrar.state import State
from shim.wire.words import (
    LATE_SUFFIX,
    LEASE_FD,
    MARK,
    START_SUFFIX,
    START_WAIT,
    STARTER_SUFFIX,
    WCHAN_SUFFIX,
)
from tests.harness.proxy import Proxy, bound_socket, flags, free_port, start_proxy
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually
from tests.proxy.starting import Starter, own_network, shim_on

__all__ = ["own_network"]  # a fixture

NOWHERE = ("127.0.0.1", 9)
ALL = (START_SUFFIX, STARTER_SUFFIX, WCHAN_SUFFIX, LATE_SUFFIX)


@pytest.fixture
def registrar(artifact: Path, tmp_path: Path) -> Iterator[LoopbackRegistrar]:
    made = LoopbackRegistrar(artifact, tmp_path)
    with made.running():
        made.wait_until_healthy()
        eventually(beside(made, STARTER_SUFFIX).exists, what="it serves shells")
        yield made


def beside(registrar: LoopbackRegistrar, suffix: str) -> Path:
    return registrar.socket.with_name(registrar.socket.name + suffix)


def start(
    artifact: Path, socket_path: Path, proto: str = "tcp", backend: tuple[str, int] = NOWHERE
) -> tuple[Proxy, int]:
    address = ("127.0.0.1", free_port(proto, "127.0.0.1"))
    with bound_socket(proto, address) as listen:
        env = {**os.environ, "SHIM_SOCKET": str(socket_path)}
        return start_proxy(artifact, flags(proto, address, backend), listen, env=env), address[1]


def parks(proxy: Proxy) -> None:
    eventually(lambda: proxy.argv()[1:2] == ["-c"] and proxy.argv()[2].startswith(MARK), what="it parks")


def was_started_from_outside(proxy: Proxy) -> bool:
    """By the mark that a registrar leaves on the lease pipe."""
    parks(proxy)
    return bool(os.stat(f"/proc/{proxy.pid}/fd/{LEASE_FD}").st_mode & stat.S_ISVTX)


def check_that_shells_are_served(artifact: Path, registrar: LoopbackRegistrar) -> None:
    proxy, port = start(artifact, registrar.socket)
    with proxy:
        assert was_started_from_outside(proxy)
        (binding,) = eventually(
            lambda: [b for b in registrar.bindings() if b["port"] == port], what="it is known"
        )
        assert (binding["pid"], binding["state"]) == (proxy.pid, "pending")
        eventually(lambda: has_trap(proxy), what="it has its traps")
        assert proxy.stop() == 0
    eventually(lambda: port not in [b["port"] for b in registrar.bindings()], what="it is gone")


def has_trap(proxy: Proxy, number: signal.Signals = signal.SIGINT) -> bool:
    _, _, rest = Path(f"/proc/{proxy.pid}/status").read_text().partition("SigCgt:")
    return bool(int(rest.split()[0], 16) & 1 << number - 1)


def test_a_port_is_started_registered_and_released(artifact: Path, registrar: LoopbackRegistrar) -> None:
    check_that_shells_are_served(artifact, registrar)


def test_a_udp_port_sleeps_at_once_and_its_first_datagram_is_relayed(
    artifact: Path, registrar: LoopbackRegistrar
) -> None:
    with bound_socket("udp", ("127.0.0.1", 0)) as backend, socket.socket(type=socket.SOCK_DGRAM) as client:
        backend.settimeout(20)
        proxy, port = start(artifact, registrar.socket, "udp", backend.getsockname())
        with proxy:
            assert was_started_from_outside(proxy)
            client.sendto(b"hello", ("127.0.0.1", port))
            assert backend.recv(100) == b"hello"
            assert proxy.argv()[3] == "relay"


def test_one_that_comes_before_it_sleeps_is_relayed_too(artifact: Path, registrar: LoopbackRegistrar) -> None:
    with bound_socket("udp", ("127.0.0.1", 0)) as backend, socket.socket(type=socket.SOCK_DGRAM) as client:
        backend.settimeout(20)
        for number in range(5):
            proxy, port = start(artifact, registrar.socket, "udp", backend.getsockname())
            with proxy:
                client.sendto(b"%d" % number, ("127.0.0.1", port))
                assert backend.recv(100) == b"%d" % number


@pytest.mark.parametrize("suffix", [START_SUFFIX, STARTER_SUFFIX, ""], ids=["fifo", "link", "socket"])
def test_what_is_taken_away_is_made_anew_by_the_next_start(
    artifact: Path, registrar: LoopbackRegistrar, suffix: str
) -> None:
    beside(registrar, suffix).unlink()
    proxy, _ = start(artifact, registrar.socket)
    with proxy:
        assert was_started_from_outside(proxy) == (not suffix)
        eventually(beside(registrar, suffix).exists, what="it is back")
        proxy.stop(signal.SIGKILL)
    check_that_shells_are_served(artifact, registrar)


def test_one_that_stood_still_serves_shells_again(artifact: Path, registrar: LoopbackRegistrar) -> None:
    os.kill(registrar.pid, signal.SIGSTOP)
    beside(registrar, WCHAN_SUFFIX).unlink()  # it looks as if it ran
    try:
        proxy, port = start(artifact, registrar.socket)
        with proxy:
            eventually(beside(registrar, LATE_SUFFIX).exists, START_WAIT + 2, "it waited in vain")
            assert not was_started_from_outside(proxy)
            os.kill(registrar.pid, signal.SIGCONT)
            eventually(lambda: not beside(registrar, LATE_SUFFIX).exists(), what="the mark is gone")
            assert [b["port"] for b in registrar.bindings()] == [port]
            proxy.stop(signal.SIGKILL)
    finally:
        os.kill(registrar.pid, signal.SIGCONT)
    check_that_shells_are_served(artifact, registrar)


def test_it_leaves_no_way_when_it_ends(artifact: Path, tmp_path: Path) -> None:
    registrar = LoopbackRegistrar(artifact, tmp_path)
    with registrar.running():
        registrar.wait_until_healthy()
        eventually(beside(registrar, STARTER_SUFFIX).exists, what="it serves shells")
    assert not any(os.path.lexists(beside(registrar, x)) for x in ALL)


def test_the_next_registrar_starts_the_port_of_a_shell_whose_own_has_died(
    artifact: Path, tmp_path: Path
) -> None:
    """... where it is there within the second: it finds the shell in /proc."""

    def found() -> list[Shim]:
        return [shim for shim in find_shims() if shim.waiting]

    async def come() -> tuple[int, int]:
        state = State(Templates(HttpOptions()), MODES["http"], time.monotonic, Probes(find_shims=found))
        return state.recover()

    with Starter(tmp_path / "dir", instant=1) as starter:
        proxy, port = start(artifact, starter.socket)
        with proxy:
            eventually(found, what="it waits")
            assert trio.run(come) == (1, 0)
            assert was_started_from_outside(proxy)
            assert not starter.beside(LATE_SUFFIX).exists()
            shim = shim_on(port)
            assert shim is not None and shim.pid == proxy.pid
            proxy.stop(signal.SIGKILL)
