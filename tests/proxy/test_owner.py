"""Whose sockets may be bound beside a shim's, as the built file leaves it: whose the registrar says."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shim.proxy.owner import listed_sockets, told_sockets
from shim.wire.words import OWNER_SUFFIX
from tests.conftest import cannot
from tests.harness.clients import Address
from tests.harness.proxy import bound_socket, flags, free_port, refusal, sharing, start_proxy
from tests.harness.registrar import SHIV_ROOT

NOWHERE = ("127.0.0.1", 9)
ENVOY, NOBODY, ROOT = 101, 65534, 0
EACH = pytest.mark.parametrize("passed", [True, False], ids=["fd 4", "bind"])
LOOPBACKS = pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """... of a host whose registrar takes registrations."""
    if os.geteuid():
        cannot("not root")
    path = tmp_path / "registrar.sock"
    with socket.socket(socket.AF_UNIX) as registrar:
        registrar.bind(str(path))
        registrar.listen()
        yield {**os.environ, "SHIM_SOCKET": str(path), "SHIV_ROOT": str(SHIV_ROOT)}


def say_owner(env: dict[str, str], text: str) -> None:
    os.symlink(text, env["SHIM_SOCKET"] + OWNER_SUFFIX)


def may_listen(address: Address, user: int) -> bool:
    try:
        with sharing(address, user) as sock:
            sock.listen()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("told", "owner"), [("101", ENVOY), ("0", ROOT), ("unknown", ROOT), ("-1", ROOT), ("9" * 30, ROOT)]
)
@EACH
@LOOPBACKS
def test_only_the_owner_may_listen_beside_it_and_nobody_where_none_is_known(
    artifact: Path, env: dict[str, str], ip: str, passed: bool, told: str, owner: int
) -> None:
    say_owner(env, told)
    address = (ip, free_port("tcp", ip))
    with ExitStack() as stack:
        listen = stack.enter_context(bound_socket("tcp", address)) if passed else None
        stack.enter_context(start_proxy(artifact, flags("tcp", address, NOWHERE), listen, env=env))
        if listen is not None:
            listen.close()
        found = {user: may_listen(address, user) for user in (ENVOY, ROOT, NOBODY)}
        assert found == {user: user == owner for user in found}


def test_who_was_bound_before_cannot_listen_either(artifact: Path, env: dict[str, str]) -> None:
    say_owner(env, str(ENVOY))
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    with sharing(address, NOBODY) as early:
        with start_proxy(artifact, flags("tcp", address, NOWHERE), env=env):
            with pytest.raises(OSError, match="Address already in use"):
                early.listen()
            with sharing(address, ENVOY) as envoy:
                envoy.listen()


def test_what_somebody_listens_on_is_refused(artifact: Path, env: dict[str, str]) -> None:
    say_owner(env, str(ENVOY))
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    with sharing(address, ROOT) as other:
        other.listen()
        assert "address already in use" in refusal(artifact, flags("tcp", address, NOWHERE), env=env)


def test_two_shims_never_share_a_port(artifact: Path, env: dict[str, str]) -> None:
    """By the kernel: whether or not a registrar is there to be asked."""
    say_owner(env, str(ENVOY))
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    with start_proxy(artifact, flags("tcp", address, NOWHERE), env=env):
        alone = {**env, "SHIM_SOCKET": env["SHIM_SOCKET"] + ".none"}
        for other in (env, alone):
            assert "address already in use" in refusal(artifact, flags("tcp", address, NOWHERE), env=other)


def test_a_registrar_of_before_there_were_owners_has_its_envoy_beside_the_port(
    artifact: Path, env: dict[str, str]
) -> None:
    """The file is new and the registrar not restarted yet: such a registrar leaves no word of an owner."""
    address = ("127.0.0.1", free_port("tcp", "127.0.0.1"))
    with start_proxy(artifact, flags("tcp", address, NOWHERE), env=env):
        assert may_listen(address, ENVOY)
    alone = {**env, "SHIM_SOCKET": env["SHIM_SOCKET"] + ".none"}
    with start_proxy(artifact, flags("tcp", address, NOWHERE), env=alone):
        assert not may_listen(address, ENVOY)


def test_a_udp_port_is_shared_with_nobody_whatever_dockerd_set(artifact: Path, env: dict[str, str]) -> None:
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with socket.socket(type=socket.SOCK_DGRAM) as listen, socket.socket(type=socket.SOCK_DGRAM) as thief:
        for sock in (listen, thief):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listen.bind(address)
        with start_proxy(artifact, flags("udp", address, NOWHERE), listen, env=env):
            with pytest.raises(OSError, match="Address already in use"):
                thief.bind(address)


@pytest.mark.parametrize(("user", "starts"), [(ROOT, True), (107, True), (1000, False), (NOBODY, False)])
def test_a_udp_port_beside_a_services_socket_is_served_and_beside_a_persons_is_not(
    artifact: Path, env: dict[str, str], user: int, starts: bool
) -> None:
    """As avahi's is on 5353: dockerd of Engine 28 binds beside it."""
    address = ("127.0.0.1", free_port("udp", "127.0.0.1"))
    with socket.socket(type=socket.SOCK_DGRAM) as listen, socket.socket(type=socket.SOCK_DGRAM) as other:
        for sock in (other, listen):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        os.fchown(other.fileno(), user, -1)
        if starts:
            with start_proxy(artifact, flags("udp", address, NOWHERE), listen, env=env):
                pass
        else:
            assert "address already in use" in refusal(
                artifact, flags("udp", address, NOWHERE), listen, env=env
            )


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"])
def test_the_kernel_tells_of_the_sockets_on_a_port_as_it_lists_them(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as other:
        sock.bind((address, 0))
        other.bind(("127.0.0.2", 0))
        os.fchown(sock.fileno(), NOBODY, -1)
        port, inode = sock.getsockname()[1], os.fstat(sock.fileno()).st_ino
        assert told_sockets(port) == listed_sockets(port)
        assert (socket.inet_pton(family, address).hex(), NOBODY, inode) in told_sockets(port)
    assert told_sockets(port) == listed_sockets(port) == []


def test_a_kernel_that_cannot_tell_of_sockets_says_so() -> None:
    """As one without udp_diag: that is no word of an empty port."""
    with pytest.raises(OSError, match="not told"):
        told_sockets(53, 200)  # no protocol
