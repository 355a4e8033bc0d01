"""The relay as a shim runs it: its own process, on a socket that was bound before."""

import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shim.relay.main import LIMIT, SPARE_FILES, client_limit

RUN = "import sys; from shim.relay.main import main; sys.exit(main(sys.argv[2:], int(sys.argv[1])))"
ROOT = Path(__file__).parents[2]
DEADLINE = 20.0


def start(host: socket.socket, backend: socket.socket) -> subprocess.Popen[bytes]:
    flags = ["-proto", "udp", "-host-ip", "127.0.0.1", "-host-port", str(host.getsockname()[1])]
    flags += ["-container-ip", "127.0.0.1", "-container-port", str(backend.getsockname()[1])]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(host.fileno()), *flags], pass_fds=[host.fileno()], cwd=ROOT
    )


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(DEADLINE)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_relays_what_came_before_it_started_and_ends_with_0(number: signal.Signals) -> None:
    with bound() as host, bound() as backend, bound() as client:
        client.sendto(b"early", host.getsockname())
        with start(host, backend) as process:
            try:
                data, flow = backend.recvfrom(100)
                backend.sendto(data + b" bird", flow)
                assert client.recv(100) == b"early bird"
                process.send_signal(number)
                assert process.wait(DEADLINE) == 0
            finally:
                process.kill()


def test_a_socket_that_cannot_be_used_ends_it_with_1() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as host, bound() as backend:
        host.bind(("127.0.0.1", 0))
        with start(host, backend) as process:
            try:
                assert process.wait(DEADLINE) == 1
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("limits", "raised", "clients"),
    [
        ((1024, 4096), (4096, 4096), 4096 - SPARE_FILES),
        ((1024, 1 << 20), (LIMIT + SPARE_FILES, 1 << 20), LIMIT),
        ((1 << 20, 1 << 20), None, LIMIT),
        ((64, 64), (64, 64), 1),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, LIMIT),
        ((1024, resource.RLIM_INFINITY), (LIMIT + SPARE_FILES, resource.RLIM_INFINITY), LIMIT),
    ],
)
def test_there_may_be_as_many_clients_as_files(
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    raised: tuple[int, int] | None,
    clients: int,
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: seen.append(pair))
    assert client_limit() == clients
    assert seen == ([raised] if raised else [])
