"""How many ports a relay may have: the rule by itself, and against this kernel's own count."""

import contextlib
import random
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.relay import ports
from shim.relay.ports import EVERY, FALLBACK, LEAST, RESERVE, Ports, allowance, count

ALL = 28_232


@pytest.mark.parametrize(
    ("used", "mine", "allowed"),
    [
        (0, 0, 10_587),  # alone: three eighths
        (10_587, 10_587, 10_587),
        (10_587, 0, 5_293),
        (14_116, 7_058, 7_058),  # two alike: a quarter each
        (21_174, 0, LEAST),
        (28_232, 0, LEAST),
        (50_000, 10_000, LEAST),  # more sockets than ports: elsewhere, or on several addresses
    ],
)
def test_a_relay_takes_no_more_than_it_leaves(used: int, mine: int, allowed: int) -> None:
    assert allowance(ALL, used, mine) == allowed


@settings(deadline=None)
@given(relays=st.integers(1, 200), others=st.integers(0, 20_000), seed=st.integers(0, 1 << 32))
def test_any_number_of_relays_leaves_the_reserve_and_as_much_as_each_has(
    relays: int, others: int, seed: int
) -> None:
    """All want as much as there is, in any order, from any beginning at which ports are left."""
    chance = random.Random(seed)
    mine = [chance.randrange(max(1, (ALL - others) // relays)) for _ in range(relays)]
    taken = others + sum(mine)
    for _ in range(40):
        for index in chance.sample(range(relays), relays):
            allowed = allowance(ALL, taken, mine[index])
            taken += allowed - mine[index]
            mine[index] = allowed
    free = ALL - taken
    assert free >= ALL // RESERVE - LEAST * relays
    # What is divided among so many has a remainder.
    assert max(mine) - min(mine) <= relays
    assert max(mine) <= max(LEAST, free - ALL // RESERVE + relays)


@pytest.mark.parametrize(
    ("range_text", "reserved", "expected"),
    [
        ("32768\t60999\n", "\n", ALL),
        ("32768\t60999\n", "8080,9148\n", ALL),
        ("32768\t60999\n", "1024-32769,60000,60998-65535\n", ALL - 2 - 1 - 2),
        ("1024\t65535\n", "", 64_512),
    ],
)
def test_ports_are_counted_as_the_kernel_gives_them(range_text: str, reserved: str, expected: int) -> None:
    assert count(range_text, reserved) == expected


def test_this_kernels_sockets_count() -> None:
    with contextlib.closing(Ports(10_000)) as seen, contextlib.ExitStack() as opened:
        before = seen._used()
        for family, ip in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for _ in range(200):
                opened.enter_context(socket.socket(family, socket.SOCK_DGRAM)).bind((ip, 0))
        after = seen._used()
        assert before is not None and after is not None
        assert 300 < after - before < 500  # others come and go as well


def test_a_relay_looks_again_after_some_flows() -> None:
    used = iter([0, 28_000, 0])
    with contextlib.closing(Ports(10_000)) as seen:
        seen._ports = ALL
        seen._used = lambda: next(used)  # type: ignore[method-assign]
        limits = [seen.limit(1_000) for _ in range(3 * EVERY)]
    assert limits == [10_000] * EVERY + [LEAST] * EVERY + [10_000] * EVERY


def test_a_small_relay_does_not_look() -> None:
    with contextlib.closing(Ports(10_000)) as seen:
        seen._used = lambda: pytest.fail("it looked")  # type: ignore[method-assign]
        assert {seen.limit(mine) for mine in range(LEAST)} == {LEAST}


def test_where_proc_does_not_tell_there_is_a_modest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", "/proc/none")
    with contextlib.closing(Ports(10_000)) as blind:
        assert {blind.limit(mine) for mine in (LEAST, 5_000)} == {FALLBACK}
    with contextlib.closing(Ports(100)) as blind:
        assert blind.limit(50) == 100
