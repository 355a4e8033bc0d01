"""What happens to containers: each lane does one thing after the other to its own, at random."""

import random
from collections import Counter
from collections.abc import Sequence

import trio

from tests.soak.slot import Now, Slot

# How often each is drawn of a container that runs, and of one that was stopped.
RUNNING = {"restart": 4, "stop": 3, "kill": 2, "crash": 2, "remove": 3, "recreate": 4, "pause": 1}
STOPPED = {"start": 4, "remove": 1}
PAUSE = 1.0  # between two events of a lane, at most (seconds)
PAUSED = 0.5  # for how long a container is paused, at most (seconds)


class Bag:
    """Draws at random without putting back, so that everything comes up in every round."""

    def __init__(self, weights: dict[str, int], rng: random.Random) -> None:
        self._all = [name for name, weight in weights.items() for _ in range(weight)]
        self._rng = rng
        self._left: list[str] = []

    def draw(self) -> str:
        if not self._left:
            self._left = self._rng.sample(self._all, len(self._all))
        return self._left.pop()


class Lane:
    def __init__(self, slots: Sequence[Slot], rng: random.Random, events: Counter[str]) -> None:
        self.slots = slots
        self._rng = rng
        self._events = events
        self._running, self._stopped = Bag(RUNNING, rng), Bag(STOPPED, rng)

    async def run(self) -> None:
        """For ever; what is begun when it is cancelled is finished."""
        while True:
            slot = self._rng.choice(self.slots)
            await trio.lowlevel.checkpoint()
            with trio.CancelScope(shield=True):
                async with slot.lock:
                    await self._one(slot)
            await trio.sleep(self._rng.uniform(0, PAUSE))

    async def _one(self, slot: Slot) -> None:
        bags = {Now.RUNNING: self._running, Now.STOPPED: self._stopped}
        event = bags[slot.state].draw() if slot.state in bags else "run"
        self._events[f"container: {event}"] += 1
        if event == "pause":
            await slot.pause(self._rng.uniform(0.1, PAUSED))
        else:
            await getattr(slot, event)()

    async def finish(self) -> None:
        """Let every container run, so that there is something to compare."""
        for slot in self.slots:
            while slot.state is not Now.RUNNING:
                await (slot.run() if slot.state is Now.ABSENT else slot.start())
