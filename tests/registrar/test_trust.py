"""Whose Envoys count, by what the kernel and the system's list of users say."""

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from shim.core.endpoint import Endpoint
from shim.host.peer_credentials import UNKNOWN, owner_of_listener
from shim.registrar import trust
from shim.registrar.trust import EnvoyUsers, share_with_envoy

T = TypeVar("T")

ADMIN = Endpoint("127.0.0.1", 1)
OWN = 990
CONTAINER, DYNAMIC, PERSON, NOBODY, SUBORDINATE = 101, 64321, 1000, 65534, 100101


def unknown(name: str) -> int:
    raise KeyError(name)


def as_user(user: int, call: Callable[[], T]) -> T:
    os.seteuid(user)
    try:
        return call()
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_containers_user_may_connect_whatever_groups_this_host_has_and_no_other_may() -> None:
    with tempfile.TemporaryDirectory(dir="/run") as directory, socket.socket(socket.AF_UNIX) as api:
        os.chmod(directory, 0o755)
        api.bind(path := f"{directory}/api.sock")
        api.listen()
        os.chmod(path, 0o660)

        def may_connect(user: int) -> bool:
            groups = os.getgroups()
            os.setgroups([])
            os.setegid(user)
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    as_user(user, lambda: client.connect(path))
                except PermissionError:
                    return False
                finally:
                    os.setegid(0)
                    os.setgroups(groups)
                return True

        assert not may_connect(CONTAINER)
        trio.run(share_with_envoy, path, CONTAINER)
        assert may_connect(0) and may_connect(CONTAINER)
        assert not may_connect(DYNAMIC) and not may_connect(PERSON)


@pytest.mark.parametrize("setting", ["auto", "envoy", 77])
def test_root_and_the_registrars_own_user_count_always_and_strangers_never(setting: str | int) -> None:
    users = EnvoyUsers(setting, ADMIN, OWN, unknown)
    assert users.trusts(0) and users.trusts(OWN)
    assert not any(map(users.trusts, (UNKNOWN, CONTAINER, DYNAMIC, PERSON, NOBODY, SUBORDINATE)))


def test_a_number_is_that_user() -> None:
    users = EnvoyUsers(PERSON, ADMIN, OWN, unknown)
    assert users.trusts(PERSON) and not users.trusts(PERSON + 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("setting", "counts"), [("auto", True), ("somebody", False), (77, False)])
@pytest.mark.parametrize("user", [CONTAINER, DYNAMIC])
def test_a_system_user_counts_who_holds_envoys_admin(setting: str | int, counts: bool, user: int) -> None:
    with as_user(user, lambda: socket.create_server(("127.0.0.1", 0))) as admin:
        users = EnvoyUsers(setting, Endpoint(*admin.getsockname()), OWN, unknown)
        assert users.trusts(user) is counts
        assert not users.trusts(user + 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_who_asks_without_end_costs_envoys_admin_a_connection_a_second(tmp_path: Path) -> None:
    now = 0.0
    with socket.socket(socket.AF_UNIX) as admin:
        admin.setblocking(False)
        admin.bind(str(tmp_path / "admin"))
        users = EnvoyUsers("auto", Endpoint(path=str(tmp_path / "admin")), OWN, unknown, lambda: now)
        # That nobody listens yet is not remembered.
        assert not users.trusts(CONTAINER)
        as_user(CONTAINER, admin.listen)
        for passed in (0.0, 0.5, 0.4):
            now += passed
            assert users.trusts(CONTAINER)
            assert not users.trusts(DYNAMIC)
        admin.accept()[0].close()
        with pytest.raises(BlockingIOError):
            admin.accept()
    now = 2.0
    assert not users.trusts(CONTAINER)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("user", [PERSON, NOBODY, SUBORDINATE])
def test_no_other_user_counts_for_holding_envoys_admin(user: int) -> None:
    with as_user(user, lambda: socket.create_server(("127.0.0.1", 0))) as admin:
        assert owner_of_listener(Endpoint(*admin.getsockname())) == user
        assert not EnvoyUsers("auto", Endpoint(*admin.getsockname()), OWN, unknown).trusts(user)


@pytest.mark.parametrize("setting", ["auto", "envoy"])
def test_a_name_that_comes_to_be_known_while_we_run_counts_and_so_does_another_number(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "LOOKUP_PAUSE", 0.01)
    known: dict[str, int] = {}
    looked_up: list[str] = []

    def find(name: str) -> int:
        looked_up.append(name)
        return known[name]

    async def run() -> None:
        users = EnvoyUsers(setting, ADMIN, OWN, find)

        async def come(user: int) -> None:
            """Until it counts."""
            with trio.fail_after(10):
                while not users.trusts(user):
                    await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(users.run)
            assert not users.trusts(PERSON)
            known["envoy"] = PERSON
            await come(PERSON)
            known["envoy"] = PERSON + 1
            await come(PERSON + 1)
            assert not users.trusts(PERSON)
            nursery.cancel_scope.cancel()
        # However many come whom nobody knows.
        assert set(looked_up) == {"envoy"} and len(looked_up) < 50

    trio.run(run)


def test_a_listener_has_an_owner_and_where_there_is_none_nobody_has_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as v4,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as v6,
    ):
        here4, here6 = Endpoint(*v4.getsockname()[:2]), Endpoint(*v6.getsockname()[:2])
        assert owner_of_listener(here4) == owner_of_listener(here6) == os.geteuid()
        # A connection that is made to it is none.
        with socket.create_connection(v4.getsockname()) as client:
            assert owner_of_listener(Endpoint(*client.getsockname())) == UNKNOWN
    for nowhere in (here4, here6, Endpoint("localhost", here4.port), Endpoint(path="/nowhere")):
        assert owner_of_listener(nowhere) == UNKNOWN
