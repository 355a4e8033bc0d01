"""Whom ports are shared with: who is believed to be Envoy, and what shims are told."""

import os
from pathlib import Path

import pytest

from shim.core.leases.lease import Lease
from shim.registrar.port_owner import PortOwner
from shim.wire.words import OWNER_SUFFIX
from tests.builders import make_binding, make_lease

ROOT, ENVOY = 0, 101


class Told(PortOwner):
    """... what, in ``words``; its process ids are nobody's."""

    def __init__(self, path: Path, configured: int | None = None, leases: list[Lease] | None = None) -> None:
        self.words: list[tuple[int, str]] = []
        super().__init__(leases or [], lambda lease, text: self.words.append((lease, text)))
        self.link = f"{path}{OWNER_SUFFIX}"
        self.prepare(str(path))
        self.begin(configured)

    def linked(self) -> str:
        return os.readlink(self.link)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "registrar.sock"


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
    assert owner.words == [(1, "owner 101"), (2, "owner 101")]


def test_what_was_found_out_outlives_a_registrar(path: Path) -> None:
    Told(path).consider(ROOT, {ROOT})
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


def test_of_two_envoys_the_ports_are_the_first_ones_while_it_is_there(path: Path) -> None:
    owner = Told(path)
    owner.consider(ENVOY, {ENVOY})
    assert owner.linked() == str(ENVOY)
    owner.consider(ROOT, {ENVOY, ROOT})
    assert owner.user == ENVOY
    owner.consider(ROOT, {ROOT})
    assert owner.user == ROOT
    owner.consider(ENVOY, {ENVOY})
    assert owner.user == ENVOY


def test_shims_that_are_there_are_told_when_the_owner_changes(path: Path) -> None:
    owner = Told(path, None, leases(0))
    assert owner.words == []
    owner.consider(ENVOY, {ENVOY})
    assert owner.words == [(1, "owner 101")]
