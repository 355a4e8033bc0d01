"""The task against the real nft: what it applies, restores, survives, and says."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from shim.core.firewall.table import Served, Table
from shim.registrar.firewall import by_hand, watch
from shim.registrar.firewall.backoff import Backoff
from shim.registrar.firewall.programs import Programs
from tests.harness.engines import which
from tests.harness.wait import eventually
from tests.registrar.firewall.lab import Lab, RunningFirewall

pytestmark = pytest.mark.docker

TABLE = "inet envoy_docker_shim"


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    yield shared
    shared.host.run("nft", "flush", "ruleset")


@pytest.fixture
def firewall(lab: Lab) -> Iterator[RunningFirewall]:
    with RunningFirewall(lab) as firewall:
        yield firewall


def table(*ports: int) -> Table:
    return Table(frozenset(Served("0.0.0.0", port) for port in ports), local=True)


def ports(lab: Lab) -> str:
    """The wildcard ports in the kernel's table, as nft prints them."""
    text = lab.host.run("nft", "list", "set", *TABLE.split(), "any4")
    return " ".join(word for word in text.replace(",", " ").split() if word.isdigit())


def counting(lab: Lab) -> tuple[Programs, Path]:
    """Programs whose every run of nft leaves a line in a file."""
    programs = lab.programs()
    log, script = lab.host.dir / "runs", lab.host.dir / "programs" / "nft"
    log.write_text("")
    script.write_text(script.read_text().replace("exec ", f'echo "$@" >>{log}\nexec '))
    return programs, log


def test_the_kernel_has_what_was_wanted_last_and_between_are_few_transactions(lab: Lab) -> None:
    programs, log = counting(lab)
    with RunningFirewall(lab, programs) as firewall:
        assert firewall.apply(table(80))
        assert ports(lab) == "80"
        runs = log.read_text().count("-f -")
        assert firewall.apply(*(table(80, port) for port in range(1000, 1500)))
        assert ports(lab) == "80 1499"
        assert log.read_text().count("-f -") <= runs + 2
        assert firewall.settled[-1] == 501
        # What is there already costs nothing.
        runs = log.read_text().count("-f -")
        assert firewall.apply(table(80, 1499))
        assert log.read_text().count("-f -") == runs
        status = firewall.status
    assert (status.active, status.whole, status.error, status.restored) == (True, True, "", 0)
    # A registrar that ends leaves the table.
    assert ports(lab) == "80 1499"


def test_a_new_registrar_reads_what_is_there_touches_nothing_and_then_replaces_it(lab: Lab) -> None:
    with RunningFirewall(lab) as firewall:
        assert firewall.apply(table(80, 81))
    lab.load(f"add chain {TABLE} from_an_older_version")
    before = lab.ruleset()
    with RunningFirewall(lab) as firewall:
        eventually(lambda: firewall.status.active)
        assert lab.ruleset() == before
        assert firewall.apply(table(81, 82))
        assert ports(lab) == "81 82"
        assert "from_an_older_version" not in lab.ruleset()
        assert not firewall.status.restored


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        f"delete table {TABLE}",
        f"flush chain {TABLE} prerouting",
        f"flush set {TABLE} any4",
        f"delete element {TABLE} any4 {{ tcp . 81 }}",
        f"add element {TABLE} any4 {{ tcp . 22 }}",
        f"insert rule {TABLE} prerouting accept",
    ],
)
def test_what_others_change_is_as_it_was_within_a_second(
    lab: Lab, firewall: RunningFirewall, damage: str
) -> None:
    assert firewall.apply(table(80, 81))
    eventually(lambda: firewall.status.whole)
    lab.load("table inet other { set any4 { type inet_service; }; }")
    before = lab.host.run("nft", "list", "table", *TABLE.split())
    began = time.monotonic()
    lab.load(damage)
    eventually(lambda: firewall.status.restored and firewall.status.whole)
    took = time.monotonic() - began
    assert lab.host.run("nft", "list", "table", *TABLE.split()) == before
    assert took < 1.0
    assert time.time() - firewall.status.restored_at < took + 1
    print(f"{damage}: restored after {took * 1000:.0f} ms")


def test_a_fight_with_another_program_is_not_a_busy_one(lab: Lab) -> None:
    programs, log = counting(lab)
    with RunningFirewall(lab, programs) as firewall:
        assert firewall.apply(table(80))
        runs = log.read_text().count("\n")
        for _ in range(5):
            restored = firewall.status.restored
            lab.load("flush ruleset")
            eventually(lambda was=restored: firewall.status.restored > was)  # type: ignore[misc]
        began = time.monotonic()
        lab.load("flush ruleset")
        # What is wanted anew does not wait for that.
        assert firewall.apply(table(80, 90), timeout=1.0)
        assert time.monotonic() - began < 1.0
        assert ports(lab) == "80 90"
        assert log.read_text().count("\n") <= runs + 10


def test_changes_that_do_not_concern_us_cost_nothing(lab: Lab) -> None:
    programs, log = counting(lab)
    with RunningFirewall(lab, programs) as firewall:
        assert firewall.apply(table(80))
        runs = log.read_text()
        for n in range(20):
            lab.load(f"table inet other{n} {{ chain a {{ type filter hook input priority 0; }}; }}")
        lab.load(f"table ip {TABLE.split()[1]} {{ }}")
        assert firewall.apply(table(80, 81))
        assert firewall.status.restored == 0
        assert log.read_text().count("\n") == runs.count("\n") + 1


def test_one_replacement_makes_it_the_youngest_of_those_that_map_addresses(lab: Lab) -> None:
    programs, log = counting(lab)
    with RunningFirewall(lab, programs) as firewall:
        assert firewall.apply(table(80))
        runs = log.read_text().count("\n")
        for family in ("ip", "ip6"):
            lab.load(f"table {family} nat {{ chain pre {{ type nat hook prerouting priority -100; }}; }}")
        eventually(lambda: lab.host.run("nft", "list", "tables").splitlines()[-1] == f"table {TABLE}")
        # A chain more in a table that is there already is the same.
        lab.load("add chain ip nat out { type nat hook output priority -100; }")
        assert ports(lab) == "80"
        assert firewall.status.restored == 0
        assert log.read_text().count("\n") <= runs + 2


def test_a_change_that_the_kernel_could_not_announce_is_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notices of a large transaction are more than a small buffer holds."""
    monkeypatch.setattr(watch, "BUFFER", 1)
    with RunningFirewall(lab) as firewall:
        assert firewall.apply(table(80, 81))
        for first in (1, 5001):
            many = ", ".join(map(str, range(first, first + 5000)))
            damage = f"delete element {TABLE} any4 {{ tcp . 81 }}" if first > 1 else ""
            lab.load(
                f"table inet other {{ set any4 {{ type inet_service; }}; }}\n{damage}\n"
                f"add element inet other any4 {{ {many} }}"
            )
            assert firewall.apply(table(80, 81, first))
            wanted = {"80", "81", str(first)}
            eventually(lambda wanted=wanted: set(ports(lab).split()) == wanted)  # type: ignore[misc]
        eventually(lambda: firewall.status.restored == 1)


def test_who_fights_with_us_is_answered_at_once_and_then_ever_later() -> None:
    backoff = Backoff()
    assert [backoff.next(0.0) for _ in range(5)] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert [backoff.next(1.0) for _ in range(7)][-1] == 30.0
    assert backoff.next(1.0 + 60.0 + 29.0) == 30.0  # it came right after the wait
    assert backoff.next(200.0) == 0.0


def test_without_nft_nothing_is_waited_for_and_the_reason_is_said(lab: Lab, tmp_path: Path) -> None:
    with RunningFirewall(lab, Programs(str(tmp_path))) as firewall:
        assert not firewall.apply(table(80))
        assert not firewall.apply(table(80), timeout=0)
        status = firewall.status
    assert (status.active, status.whole) == (False, False)
    assert status.reason == "no nft program (Debian's package: nftables)"
    assert firewall.settled[-1] == 2


@pytest.mark.parametrize(
    ("wrapper", "reason"),
    [
        ("exec setpriv --bounding-set=-net_admin {nft}", "the registrar lacks CAP_NET_ADMIN"),
        (
            "exec sed 's/socket wildcard/socket telepathy/' | {nft}",
            "this kernel or nft cannot have it (syntax error, unexpected string",
        ),
    ],
)
def test_a_host_that_cannot_have_it_is_told_apart(lab: Lab, wrapper: str, reason: str) -> None:
    programs = lab.programs()
    script = lab.host.dir / "programs" / "nft"
    nft = f'nsenter --net={lab.host.path} -- {which("nft")} "$@"'
    if "setpriv" in wrapper:
        nft = f"nsenter --net={lab.host.path} -- setpriv --bounding-set=-net_admin --inh-caps=-net_admin"
        nft += f' {which("nft")} "$@"'
        wrapper = "exec {nft}"
    script.write_text(f"#!/bin/sh\n{wrapper.format(nft=nft)}\n")
    with RunningFirewall(lab, programs) as firewall:
        assert not firewall.apply(table(80))
        assert firewall.status.reason.startswith(reason)


def test_a_failure_is_said_and_tried_again_and_holds_nobody_up(lab: Lab) -> None:
    programs = lab.programs()
    script = lab.host.dir / "programs" / "nft"
    works = script.read_text()
    with RunningFirewall(lab, programs) as firewall:
        assert firewall.apply(table(80))
        broken = script.with_name("broken")
        broken.write_text('#!/bin/sh\necho "/dev/stdin:1:1-3: Error: Out of luck" >&2\nexit 1\n')
        broken.chmod(stat.S_IRWXU)
        os.replace(broken, script)
        began = time.monotonic()
        assert not firewall.apply(table(80, 81))
        assert time.monotonic() - began < 1.0
        assert (firewall.status.error, firewall.status.whole) == ("nft: Out of luck", False)
        broken.write_text(works)
        broken.chmod(stat.S_IRWXU)
        os.replace(broken, script)
        eventually(lambda: firewall.status.whole)
        assert ports(lab) == "80 81"
        assert firewall.status.error == ""


def test_show_prints_the_table_and_clear_leaves_nothing(lab: Lab) -> None:
    programs = lab.programs()
    before = lab.ruleset()
    assert trio.run(by_hand.show, programs) == ""
    with RunningFirewall(lab) as firewall:
        address = Served("0.0.0.0", 80)
        assert firewall.apply(Table(frozenset([address]), {address: 9400}))
    text = trio.run(by_hand.show, programs)
    assert "tcp . 80 : 9400" in text
    assert "# ip -4 rule: 7776:\tfrom all fwmark 0x7776 lookup 7776" in text
    for _ in range(2):
        trio.run(by_hand.clear, programs)
        assert lab.ruleset() == before
        assert "7776" not in lab.host.run("ip", "rule") + lab.host.run("ip", "route", "show", "table", "all")
