"""Whose connection goes when all places are taken."""

from dataclasses import dataclass

import pytest

from shim.registrar.shares import BLOCK, MODEST, SUBORDINATE_FROM, least_worth, share_of, slowest
from shim.registrar.turns import TRUSTED


@dataclass
class Some:
    share: int
    identity: int = 0
    working: bool = False
    served: bool = True
    since: float = 0.0
    writing: int = 0


def many(share: int, count: int, served: bool = True) -> list[Some]:
    return [Some(share, number, served=served, since=float(number)) for number in range(count)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1000, 1001, False),
        (0, 65534, False),
        (65536, 65537, False),  # a large site's own users
        (-1, 0, False),
        (SUBORDINATE_FROM, SUBORDINATE_FROM + BLOCK - 1, True),
        (SUBORDINATE_FROM, SUBORDINATE_FROM + BLOCK, False),
        (SUBORDINATE_FROM - 1, SUBORDINATE_FROM, False),
    ],
)
def test_subordinate_ids_are_one_users(one: int, other: int, same: bool) -> None:
    assert (share_of(one, False) == share_of(other, False)) is same
    assert share_of(one, True) == share_of(other, True) == TRUSTED
    assert TRUSTED not in (share_of(one, False), share_of(other, False))


def test_the_place_of_one_who_has_most_is_taken_newcomers_included() -> None:
    found = least_worth([*many(1, 10), *many(2, 9)], 2)
    assert found is not None and found.share == 1
    found = least_worth([*many(1, 10), *many(2, 12)], 1)
    assert found is not None and found.share == 2


def test_served_connections_of_a_modest_user_are_never_taken() -> None:
    modest = [connection for share in range(30) for connection in many(share, MODEST)]
    assert least_worth(modest, 99) is None
    assert least_worth(modest, 5) is not None  # with one more he is not modest any more
    silent = Some(7, served=False)
    assert least_worth([*modest, silent], 99) in (silent, *many(7, 1))
    found = least_worth([*modest, *many(50, MODEST + 1)], 99)
    assert found is not None and found.share == 50


def test_of_answers_that_are_not_read_the_trusted_ones_are_ended_last() -> None:
    envoy, other = Some(TRUSTED, 1, writing=1 << 30), Some(1000, 2, writing=1)
    assert slowest([envoy, other]) is other
    assert slowest([envoy]) is envoy
