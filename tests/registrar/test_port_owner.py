"""Whom ports are shared with: who is believed to be Envoy, and what shims are told."""

import os
from pathlib import Path

import pytest
import trio

from shim.core.lease import Lease
from shim.proxy.owner import OWNER_SUFFIX
from shim.registrar import port_owner
from shim.registrar.port_owner import PortOwner
from tests.builders import in_trio, make_binding, make_lease

ROOT, ENVOY, NOBODY, OTHER = 0, 101, 65534, 4242


class Told(PortOwner):
    """... what, in ``words``; its process ids are nobody's.  ``named``: the host's user `envoy`."""

    named: int | None = None

    def __init__(self, path: Path, configured: int | None = None, leases: list[Lease] | None = None) -> None:
        self.words: list[tuple[int, bytes]] = []
        super().__init__(leases or [], lambda lease, text: self.words.append((lease, text)))
        self.link = f"{path}{OWNER_SUFFIX}"
        self.prepare(str(path))
        self.begin(configured)

    async def _find_named(self) -> int | None:
        return self.named

    def linked(self) -> str:
        return os.readlink(self.link)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "registrar.sock"


async def settle(owner: PortOwner) -> None:
    """Let it look into strangers."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner.run)
        await trio.sleep(10 * port_owner.LOOK_PAUSE)
        nursery.cancel_scope.cancel()


def leases(*pids: int) -> list[Lease]:
    return [make_lease(number, make_binding(8000 + number), pid=pid) for number, pid in enumerate(pids, 1)]


def test_the_link_is_there_before_anything_is_known(path: Path) -> None:
    owner = Told(path)
    assert owner.user is None
    assert not owner.linked().isdecimal()
    assert list(path.parent.iterdir()) == [Path(owner.link)]


def test_what_is_configured_is_so_from_the_start(path: Path) -> None:
    owner = Told(path, ENVOY, leases(0, 0))
    assert owner.linked() == str(ENVOY)
    assert owner.words == [(1, b"owner 101\n"), (2, b"owner 101\n")]


def test_what_was_found_out_outlives_a_registrar(path: Path) -> None:
    Told(path).polled(ROOT, 1)
    assert Told(path).user == ROOT
    assert Told(path, ENVOY).linked() == str(ENVOY)
    assert Told(path).user == ENVOY


def test_a_shim_whose_port_has_the_right_owner_is_told_nothing(path: Path) -> None:
    owner = Told(path, os.stat("/proc/self/fd/8").st_uid if os.path.exists("/proc/self/fd/8") else ENVOY)
    udp = make_lease(3, make_binding(proto="udp"), pid=0)
    owner.admitted(udp)
    assert owner.words == []
    (lease,) = leases(0)
    owner.admitted(lease)
    assert len(owner.words) == 1


def test_a_link_that_was_taken_away_is_back_with_the_next_shim(path: Path) -> None:
    owner = Told(path, ENVOY)
    os.unlink(owner.link)
    os.rmdir(path.parent)
    owner.admitted(leases(0)[0])
    assert owner.linked() == str(ENVOY)


@in_trio
async def test_a_stranger_is_not_believed_where_envoys_user_is_configured(path: Path) -> None:
    owner = Told(path, ENVOY)
    owner.named = OTHER  # a guess is for who has not said it
    owner.polled(NOBODY, 1)
    owner.polled(OTHER, 2)
    await settle(owner)
    assert owner.user == ENVOY


@in_trio
async def test_the_user_named_envoy_is_believed_and_nobody_else(path: Path) -> None:
    owner = Told(path)
    owner.named = ENVOY
    owner.polled(NOBODY, 1)
    owner.polled(ENVOY, 2)
    await settle(owner)
    assert owner.linked() == str(ENVOY)


@in_trio
async def test_one_made_for_a_service_while_it_runs_is_found_when_it_comes(path: Path) -> None:
    owner = Told(path)
    owner.polled(ROOT, 1)
    owner.closed(1)
    owner.named = ENVOY
    owner.polled(ENVOY, 2)
    await settle(owner)
    assert owner.user == ENVOY


@in_trio
async def test_who_comes_first_is_taken_where_nobody_better_is_known_and_only_then(path: Path) -> None:
    owner = Told(path)
    owner.polled(OTHER, 1)
    await settle(owner)
    assert owner.user == OTHER
    owner.closed(1)
    owner.polled(NOBODY, 2)
    await settle(owner)
    assert owner.user == OTHER


@pytest.mark.parametrize("better", [ROOT, ENVOY])
@in_trio
async def test_who_came_first_makes_room_for_a_better_one(path: Path, better: int) -> None:
    owner = Told(path)
    owner.polled(NOBODY, 1)
    await settle(owner)
    owner.named = ENVOY
    owner.polled(better, 2)
    await settle(owner)
    assert owner.user == better
    owner.polled(NOBODY, 3)  # and again: not while the better one is there
    await settle(owner)
    assert owner.user == better


@in_trio
async def test_root_once_seen_is_followed_by_no_stranger(path: Path) -> None:
    owner = Told(path)
    owner.polled(ROOT, 1)
    owner.closed(1)
    owner.polled(NOBODY, 2)
    await settle(owner)
    assert owner.user == ROOT


def test_a_root_who_looks_on_takes_nothing_from_an_envoy_that_is_there(path: Path) -> None:
    owner = Told(path, ENVOY)
    owner.polled(ENVOY, 1)
    owner.polled(ROOT, 2)
    assert owner.user == ENVOY
    owner.closed(2)
    owner.closed(1)
    owner.polled(ROOT, 3)
    assert owner.user == ROOT
    owner.closed(3)
    owner.polled(ENVOY, 4)
    assert owner.user == ENVOY


def test_who_cannot_be_seen_is_nobody(path: Path) -> None:
    owner = Told(path)
    owner.polled(-1, 1)
    assert owner.user is None
