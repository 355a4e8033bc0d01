"""How connections, and memory for answers, are divided among the users of the API.

A user can have more than one id: an entry in /etc/subuid gives 65,536 more.  So ids above the ordinary ones
are counted in blocks of that size.  And a user with few connections, each of which was answered, loses none
of them however many other users open.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

from shim.registrar.turns import TRUSTED

# Where subordinate ids begin on Debian, and how many a user has.  An id below is one user.
SUBORDINATE_FROM, BLOCK = 100_000, 1 << 16
# So many answered connections of a user are never closed for another user's: a scraper, a `status`, Envoys.
MODEST = 4


class Sharer(Protocol):
    """What is asked of a connection; http_connection.Connection says what each field means."""

    share: int
    identity: int
    working: bool
    served: bool
    since: float
    writing: int


C = TypeVar("C", bound=Sharer)


def share_of(user: int, trusted: bool) -> int:
    """The share that this user's connections count for: a number that no other user has."""
    if trusted:
        return TRUSTED
    if user < SUBORDINATE_FROM:
        return user
    return SUBORDINATE_FROM + (user - SUBORDINATE_FROM) // BLOCK


def least_worth(connections: Iterable[C], newcomer: int) -> C | None:
    """The connection to close for a new one of the share ``newcomer``; None: the new one has to be closed.

    It is one of the share with most connections: the oldest of those without a request so far; else of those
    without one now, the one silent for longest; else the youngest, since an Envoy's is older.
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
    """The connection to close: of the share with most unsent bytes, the one writing for longest.

    A trusted user's is closed only where all are.
    """
    found = [c for c in writing if c.share != TRUSTED] or list(writing)
    shares: Counter[int] = Counter()
    for connection in found:
        shares[connection.share] += connection.writing
    most = max(shares.values())
    return min((c for c in found if shares[c.share] == most), key=lambda c: (c.since, c.identity))
