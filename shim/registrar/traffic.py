"""What is known of the traffic of services, and whether anybody wants to know it.

Nobody who looks: nothing is asked of Envoys, and nothing kept but the points of the last ten minutes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from shim.core.traffic.growth import Counted, Envoy, Growth
from shim.core.traffic.history import History
from shim.core.traffic.points import Points
from shim.core.traffic.statistics import Statistics
from shim.core.traffic.window import Window
from shim.registrar.events import PendingFlag

# Seconds between two looks at Envoys, and between the first two: whoever comes waits that long for rates.
EVERY, FIRST = 2.0, 1.0
# For so long after somebody has looked here Envoys are looked at (seconds).
LOOKED = 15.0


class Answers:
    """Pages that are made once for all who ask.  Each is of a version of what it shows, a number.

    ``made``: when (seconds), of which version, and the bytes; ``making``: the version that is being made.
    """

    def __init__(self) -> None:
        self.made: dict[str, tuple[float, int, bytes]] = {}
        self.making: dict[str, int] = {}


class Traffic:
    """``every``: seconds between two looks at Envoys; ``looks``: how many there were since somebody came."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.history = History()
        self.every = EVERY
        self._now = clock
        self._wanted_until = -math.inf
        self._wanted = PendingFlag()
        self._begin()

    def _begin(self) -> None:
        self.counted = Counted()
        self.window = Window()
        self.points = Points()
        self.looks = 0
        self.moment = -math.inf  # of the last look
        self.answers = Answers()

    @property
    def warming(self) -> bool:
        """Whether there is nothing yet that a rate could be of."""
        return self.looks < 2

    @property
    def wanted(self) -> bool:
        """Whether somebody has looked lately."""
        return self._now() < self._wanted_until

    def want(self) -> None:
        """Somebody looks."""
        self._wanted_until = self._now() + LOOKED
        self._wanted.set()

    async def wait_until_wanted(self) -> None:
        """Return while somebody looks; where nobody does, what is only of use to one is forgotten."""
        if not self.wanted:
            self._begin()
            self._wanted.consume()
            await self._wanted.wait()

    def taking(
        self,
        moment: float,
        answers: Mapping[Envoy, Statistics],
        present: "Set[Envoy]",
        others: Callable[[], Iterable[tuple[str, list[float]]]] = tuple,
    ) -> Iterator[None]:
        """Take in what Envoys said at this moment, step by step; ``present``: those that are there.

        ``others``: what the history is to have of services that are not Envoy's.
        """
        growth = Growth(self.moment, moment)
        yield from self.counted.taking(growth, answers, present)
        if self.looks:
            self.window.add(growth)
            if due := self.points.add(growth):
                made: dict[str, list[float]] = {}
                yield from self.points.making(self.counted, self.window, made)
                made.update(others())
                for number in due:
                    self.history.begin(number)
                    for name, values in made.items():
                        self.history.put(name, values)
                self.points.clear()
        self.moment = moment
        self.looks += 1
