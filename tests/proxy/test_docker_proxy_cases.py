"""docker-proxy's own cases, against the built file: its start, its answers on descriptor 3, its end, and UDP.

After moby's cmd/docker-proxy/{network_proxy,udp_proxy}_linux_test.go, and our caller,
daemon/libnetwork/portmapper/proxy_linux.go.  TCP goes through Envoy: see test_docker_proxy_tcp.py.  Left out:

* TestTCPDualStackProxy: dockerd starts a proxy for each address family and passes IPv6-only sockets, so one
  proxy never stands for both.
* TestSCTP...: SCTP is refused, as test_what_cannot_be_served_is_refused shows.
* The end of a one-sided UDP flow after the time-out, 90 s here: tests/relay/test_flows.py has its own clock.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shim.proxy.park import tcp_script
from shim.proxy.start import AWAKE
from tests.harness.clients import Address
from tests.harness.proxy import Proxy, bound_socket, flags, free_port, refusal, start_proxy
from tests.harness.registrar import SHIV_ROOT
from tests.harness.wait import eventually

# moby's, 71 bytes.
BUFFALO = b"Buffalo1 buffalo2 Buffalo3 buffalo4 buffalo5 buffalo6 Buffalo7 buffalo8"
LOOPBACKS = pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
WITH_AND_WITHOUT_FD_4 = pytest.mark.parametrize("passed", [True, False], ids=["fd 4", "bind"])
NOWHERE = ("127.0.0.1", 9)
PROMPT = 5.0  # far below dockerd's 16 s, and far above what a loaded machine needs


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """dockerd's environment, on a machine without a registrar."""
    return {**os.environ, "SHIM_SOCKET": str(tmp_path / "registrar.sock"), "SHIV_ROOT": str(SHIV_ROOT)}


@contextlib.contextmanager
def published(
    artifact: Path,
    env: Mapping[str, str],
    proto: str,
    host: Address,
    backend: Address,
    *,
    passed: bool,
    **kw: bool,
) -> Iterator[Proxy]:
    """A running proxy, started as engine >= 28 does it (``passed``) or as those before do."""
    listen = bound_socket(proto, host, **kw) if passed else None
    with contextlib.ExitStack() as copy:
        if listen is not None:
            copy.enter_context(listen)
        proxy = start_proxy(artifact, flags(proto, host, backend), listen, env=env)
    with proxy:
        yield proxy


@contextlib.contextmanager
def client(server: Address) -> Iterator[socket.socket]:
    """A UDP socket, not connected: it sees where an answer comes from, and no ICMP error."""
    with socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        yield sock


def udp_backend(address: Address) -> socket.socket:
    sock = bound_socket("udp", address, packet_info=False)
    sock.settimeout(5)
    return sock


def echo_one(backend: socket.socket) -> bytes:
    data, sender = backend.recvfrom(65536)
    backend.sendto(data, sender)
    return data


# -- the start -----------------------------------------------------------------------------------------


@WITH_AND_WITHOUT_FD_4
@LOOPBACKS
def test_a_tcp_proxy_starts_holds_its_port_and_sigint_ends_it_with_0(
    artifact: Path, env: dict[str, str], ip: str, passed: bool
) -> None:
    """The port is left to Envoy, and to nobody else: see test_owner.py."""
    address = (ip, free_port("tcp", ip))
    with published(artifact, env, "tcp", address, NOWHERE, passed=passed) as proxy:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as stranger:
            with pytest.raises(OSError, match="Address already in use"):
                stranger.bind(address)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
        ready(proxy)
        assert proxy.stop() == 0
    bound_socket("tcp", address).close()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_sigterm_ends_a_proxy_with_0(artifact: Path, env: dict[str, str], proto: str) -> None:
    """It is what a proxy gets when its dockerd dies."""
    address = ("127.0.0.1", free_port(proto, "127.0.0.1"))
    with published(artifact, env, proto, address, NOWHERE, passed=True) as proxy:
        ready(proxy)
        assert proxy.stop(signal.SIGTERM) == 0


def ready(proxy: Proxy) -> None:
    """Wait for the process to be what it stays: until then, a signal ends it by default."""
    eventually(lambda: catches(proxy.pid, signal.SIGTERM), 10, "SIGTERM is caught")


def catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("registrar", ["absent", "stopped", "overrun"])
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_registrar_that_does_not_answer_keeps_no_container_from_starting(
    artifact: Path, env: dict[str, str], proto: str, registrar: str
) -> None:
    with contextlib.ExitStack() as stack:
        if registrar != "absent":
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.bind(env["SHIM_SOCKET"])
            silent.listen(0 if registrar == "overrun" else 100)
        if registrar == "overrun":
            for _ in range(3):  # more than a backlog of 0 has room for
                caller = stack.enter_context(socket.socket(socket.AF_UNIX))
                caller.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    caller.connect(env["SHIM_SOCKET"])
        address = ("127.0.0.1", free_port(proto, "127.0.0.1"))
        began = time.monotonic()
        stack.enter_context(published(artifact, env, proto, address, NOWHERE, passed=True))
        assert time.monotonic() - began < PROMPT


def test_without_a_registrar_a_tcp_shim_parks_when_dockerd_has_made_up_its_mind(
    artifact: Path, env: dict[str, str]
) -> None:
    """An end that dockerd wants at once, as another port failed, must not meet a shell before its `read`."""
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    with published(artifact, env, "tcp", address, NOWHERE, passed=True) as proxy:
        began = time.monotonic()
        script = tcp_script(env["SHIM_SOCKET"].encode())
        eventually(lambda: script in proxy.argv(), PROMPT, "it parks", interval=0.001)
        assert time.monotonic() - began > 0.9 * AWAKE


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("proto", "ip"), [("tcp", "127.0.0.1"), ("udp", "127.0.0.1"), ("udp", "::1")])
def test_a_port_that_is_taken_is_refused_in_docker_proxys_words(
    artifact: Path, env: dict[str, str], proto: str, ip: str
) -> None:
    """TCP tries for three seconds first: with no registrar to ask, an Envoy may be about to let go."""
    address = (ip, free_port(proto, ip))
    shown = f"[{ip}]" if ":" in ip else ip
    with bound_socket(proto, address):
        text = refusal(artifact, flags(proto, address, NOWHERE), env=env)
    assert text == f"listen {proto} {shown}:{address[1]}: bind: address already in use"


def test_an_address_that_this_host_has_not_is_refused(artifact: Path, env: dict[str, str]) -> None:
    text = refusal(artifact, flags("tcp", ("192.0.2.1", 8080), NOWHERE), env=env)
    assert text == "listen tcp 192.0.2.1:8080: bind: cannot assign requested address"


REFUSED = {
    "SCTP": (["-proto", "sctp"], "SCTP is not supported"),
    "unknown protocol": (["-proto", "icmp"], "unsupported protocol 'icmp'"),
    "bad host address": (["-host-ip", "127.0.0.256"], "'127.0.0.256' for flag -host-ip: not an IP address"),
    "a name for an address": (["-container-ip", "localhost"], "'localhost' for flag -container-ip"),
    "bad host port": (["-host-port", "65536"], "'65536' for flag -host-port: not a port"),
    "port 0": (["-host-port=0"], "'0' for flag -host-port: not a port"),
    "bad container port": (["--container-port=http"], "'http' for flag -container-port: not a port"),
    "unknown flag": (["-verbose"], "flag provided but not defined: -verbose"),
    "a flag without its value": (["-host-ip"], "flag needs an argument: -host-ip"),
    "a word that is no flag": (["serve"], "unexpected argument 'serve'"),
    "a bad boolean": (["-use-listen-fd=yes"], "invalid boolean value 'yes'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_with_the_reason(
    artifact: Path, env: dict[str, str], case: str
) -> None:
    more, reason = REFUSED[case]
    args = flags("tcp", ("127.0.0.1", free_port("tcp", "127.0.0.1")), NOWHERE)
    assert reason in refusal(artifact, [*args, *more], env=env)


def test_sctp_is_refused_before_its_socket_is_looked_at(artifact: Path, env: dict[str, str]) -> None:
    """A kernel with SCTP has engine 28 pass an SCTP socket on descriptor 4; any socket will do here."""
    with bound_socket("tcp", ("127.0.0.1", 0)) as other:
        args = flags("sctp", ("127.0.0.1", 8080), NOWHERE)
        assert "SCTP is not supported" in refusal(artifact, args, other, env=env)


def test_a_descriptor_4_that_is_not_the_socket_is_refused(artifact: Path, env: dict[str, str]) -> None:
    args = flags("tcp", ("127.0.0.1", 8080), NOWHERE)
    assert "file descriptor 4 is not a socket" in refusal(artifact, [*args, "-use-listen-fd"], env=env)
    with bound_socket("udp", ("127.0.0.1", 0)) as other:
        assert "file descriptor 4 has socket type" in refusal(artifact, args, other, env=env)


def test_a_proxy_that_cannot_report_does_not_stay(artifact: Path, env: dict[str, str]) -> None:
    """Without a dockerd behind descriptor 3 nobody would ever end it."""
    args = flags("tcp", ("127.0.0.1", free_port("tcp", "127.0.0.1")), NOWHERE)
    done = subprocess.run(
        [artifact, *args], env=env, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=10
    )
    assert done.returncode == 1


@pytest.mark.parametrize("flag", ["-v", "--v", "-version", "--version"])
def test_the_version_is_printed(artifact: Path, env: dict[str, str], flag: str) -> None:
    done = subprocess.run([artifact, flag], env=env, check=True, capture_output=True, text=True, timeout=30)
    assert re.fullmatch(r"envoy-docker-shim \d+\.\d+\.\d+\S*\n", done.stdout)


# -- UDP -----------------------------------------------------------------------------------------------


@WITH_AND_WITHOUT_FD_4
@LOOPBACKS
def test_a_datagram_is_echoed_and_sigint_ends_the_relay_with_0(
    artifact: Path, env: dict[str, str], ip: str, passed: bool
) -> None:
    address = (ip, free_port("udp", ip))
    with udp_backend((ip, 0)) as backend, client(address) as asker:
        with published(artifact, env, "udp", address, backend.getsockname()[:2], passed=passed) as proxy:
            asker.sendto(BUFFALO, address)
            assert echo_one(backend) == BUFFALO
            answer, sender = asker.recvfrom(65536)
            assert (answer, sender[:2]) == (BUFFALO, address)
            assert proxy.stop() == 0
    bound_socket("udp", address).close()


def test_an_ipv6_port_is_relayed_to_an_ipv4_container(artifact: Path, env: dict[str, str]) -> None:
    address = ("::1", free_port("udp", "::1"))
    with udp_backend(("127.0.0.1", 0)) as backend, client(address) as asker:
        with published(artifact, env, "udp", address, backend.getsockname(), passed=True):
            asker.sendto(BUFFALO, address)
            assert echo_one(backend) == BUFFALO
            assert asker.recv(65536) == BUFFALO


def test_datagrams_that_nobody_takes_do_not_stop_the_relay(artifact: Path, env: dict[str, str]) -> None:
    """moby's TestUDPWriteError."""
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    container = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with published(artifact, env, "udp", address, container, passed=True), client(address) as asker:
        asker.sendto(BUFFALO, address)
        asker.sendto(BUFFALO, address)
        with udp_backend(container) as backend:
            asker.sendto(BUFFALO[::-1], address)
            # What was sent before may still be on its way through the relay.
            while echo_one(backend) != BUFFALO[::-1]:
                assert asker.recv(65536) == BUFFALO
            assert asker.recv(65536) == BUFFALO[::-1]


def test_a_client_that_gets_no_answers_keeps_its_source_port(artifact: Path, env: dict[str, str]) -> None:
    """moby's TestUDPOneSided, but for its time-out."""
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with udp_backend(("127.0.0.1", 0)) as backend, client(address) as asker:
        with published(artifact, env, "udp", address, backend.getsockname(), passed=True):
            seen = set()
            for number in range(15):
                asker.sendto(b"hello %d" % number, address)
                data, sender = backend.recvfrom(65536)
                assert data == b"hello %d" % number
                seen.add(sender)
            assert len(seen) == 1


@pytest.mark.parametrize("packet_info", [True, False], ids=["with IP_PKTINFO", "without IP_PKTINFO"])
def test_a_reply_comes_from_the_address_that_was_asked(
    artifact: Path, env: dict[str, str], packet_info: bool
) -> None:
    """libnetwork#2577; a dockerd older than its proxy passes a socket without IP_PKTINFO."""
    port = free_port("udp", "0.0.0.0")
    with udp_backend(("127.0.0.1", 0)) as backend, client(NOWHERE) as asker:
        to = backend.getsockname()
        with published(artifact, env, "udp", ("0.0.0.0", port), to, passed=True, packet_info=packet_info):
            for asked in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
                asker.sendto(BUFFALO, (asked, port))
                assert echo_one(backend) == BUFFALO
                assert asker.recvfrom(65536) == (BUFFALO, (asked, port))


def test_the_largest_datagram_and_the_empty_one_pass(artifact: Path, env: dict[str, str]) -> None:
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with udp_backend(("127.0.0.1", 0)) as backend, client(address) as asker:
        with published(artifact, env, "udp", address, backend.getsockname(), passed=True):
            for data in (os.urandom(65507), b"", b"x"):
                asker.sendto(data, address)
                assert echo_one(backend) == data
                assert asker.recv(65536) == data
