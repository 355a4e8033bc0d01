"""How what there is of connections and of answers' memory is shared out among users.

A user is not a number: whoever has an entry in /etc/subuid is 65,536 of them.  So those above the ordinary
ones are counted in blocks of that size, as they are given out.  And who has few connections, and was answered
on them, loses none of them however many others come.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

from shim.registrar.turns import TRUSTED

# Where subordinate ids begin on Debian, and how many a user has.  What lies below is one user each.
SUBORDINATE_FROM, BLOCK = 100_000, 1 << 16
# As many served connections of a user are never taken for another's: a scraper, a `status`, some Envoys.
MODEST = 4


class Sharer(Protocol):
    """A connection."""

    share: int
    identity: int
    working: bool
    served: bool
    since: float
    writing: int


C = TypeVar("C", bound=Sharer)


def share_of(user: int, trusted: bool) -> int:
    """Whose share this user's connections are of: a number that is nobody else's."""
    if trusted:
        return TRUSTED
    if user < SUBORDINATE_FROM:
        return user
    return SUBORDINATE_FROM + (user - SUBORDINATE_FROM) // BLOCK


def least_worth(connections: Iterable[C], newcomer: int) -> C | None:
    """Which connection one of the share ``newcomer`` takes the place of; None: of none, it has to go itself.

    Of the share that has most: one that has asked nothing yet, the oldest first; else one that asks nothing
    now, the longest silent first; else the youngest, as it is no Envoy that has been there for long.
    """
    found = list(connections)
    shares = Counter(connection.share for connection in found)
    shares[newcomer] += 1
    loose = [c for c in found if not c.served or shares[c.share] > MODEST]
    if not loose:
        return None
    most = max(shares[connection.share] for connection in loose)

    def worth(connection: C) -> tuple[int, float, int]:
        if connection.working:
            return 2, 0, -connection.identity
        return int(connection.served), connection.since, connection.identity

    return min((c for c in loose if shares[c.share] == most), key=worth)


def slowest(writing: Collection[C]) -> C:
    """Of those who take an answer: of the share for which most is held, the one who has been at it longest.

    Of a trusted one's only where there is nobody else.
    """
    found = [c for c in writing if c.share != TRUSTED] or list(writing)
    shares: Counter[int] = Counter()
    for connection in found:
        shares[connection.share] += connection.writing
    most = max(shares.values())
    return min((c for c in found if shares[c.share] == most), key=lambda c: (c.since, c.identity))
