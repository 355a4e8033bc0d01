"""What Envoys have counted between two looks at them, whatever has begun anew meanwhile."""

from collections.abc import Iterator, Mapping, Set

from shim.core.traffic.latency import Bins, add, grown
from shim.core.traffic.statistics import GROWING, Statistics

# Whose user's, and its node id.
Envoy = tuple[int, str]
# So many clusters are worked out in one go: a fraction of a millisecond.
PIECE = 128


class Growth:
    """What came to each cluster, from all Envoys together, in one stretch of time; what is 0 is left out.

    ``since`` and ``until``: seconds on any clock.
    """

    def __init__(self, since: float, until: float) -> None:
        self.since = since
        self.until = until
        self.counts: dict[str, list[int]] = {}
        self.latencies: dict[str, Bins] = {}

    def add(self, cluster: str, counts: list[int]) -> None:
        """Add what one Envoy counted."""
        here = self.counts.get(cluster)
        self.counts[cluster] = counts if here is None else list(map(int.__add__, here, counts))

    def add_latencies(self, cluster: str, bins: Bins) -> None:
        """Add what one Envoy measured."""
        add(self.latencies.setdefault(cluster, {}), bins)


def counted(before: "list[int] | None", after: list[int]) -> list[int]:
    """How one cluster's numbers have grown; all of them begin at 0 again where one has fallen.

    Envoy forgets a cluster's when it is taken out, and everybody's when it restarts.
    """
    if before is None or any(map(int.__lt__, after[:GROWING], before)):
        return [*after[:GROWING], 0]
    return [*map(int.__sub__, after[:GROWING], before), 0]


class Counted:
    """The last answer of each Envoy.  ``totals``: their sum, for each cluster a number for each of FIELDS."""

    def __init__(self) -> None:
        self.totals: dict[str, list[int]] = {}
        self._answers: dict[Envoy, Statistics] = {}

    def taking(
        self, growth: Growth, answers: Mapping[Envoy, Statistics], present: "Set[Envoy]"
    ) -> Iterator[None]:
        """Take in new answers, and put into ``growth`` how they differ from those before, step by step.

        ``present``: the Envoys that are there; one that has not answered counts as it did.  Of an Envoy that
        answers for the first time nobody knows what is new: nothing.
        """
        known = {key: self._answers[key] for key in self._answers.keys() & present}
        for key, answer in answers.items():
            if (before := known.get(key)) is not None:
                yield from _compare(growth, before, answer)
        known.update(answers)
        self._answers = known
        if len(known) == 1:
            (only,) = known.values()
            self.totals = only.counts
            return
        totals: dict[str, list[int]] = {}
        for answer in known.values():
            for number, (cluster, counts) in enumerate(answer.counts.items()):
                if number % PIECE == PIECE - 1:
                    yield
                here = totals.get(cluster)
                totals[cluster] = counts if here is None else list(map(int.__add__, here, counts))
        self.totals = totals

    def total(self, cluster: str) -> "list[int] | None":
        """What all Envoys have counted since they started; None: nothing yet."""
        return self.totals.get(cluster)


def _compare(growth: Growth, before: Statistics, after: Statistics) -> Iterator[None]:
    for number, (cluster, counts) in enumerate(after.counts.items()):
        if number % PIECE == PIECE - 1:
            yield
        new = counted(before.counts.get(cluster), counts)
        if any(new):
            growth.add(cluster, new)
    for number, (cluster, bins) in enumerate(after.latencies.items()):
        if number % PIECE == PIECE - 1:
            yield
        old = before.latencies.get(cluster, b"")
        if old != bins and (came := grown(old, bins)):
            growth.add_latencies(cluster, came)
