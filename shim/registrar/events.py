"""Events that happen more than once, for tasks that wait for the next time."""

import trio


class Broadcast:
    """Wakes the tasks that wait at that moment; a task that waits later waits for the next time."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def notify(self) -> None:
        """Wake every task that waits."""
        event, self._event = self._event, trio.Event()
        event.set()

    async def wait(self) -> None:
        """Return at the next ``notify``."""
        await self._event.wait()


class PendingFlag:
    """A call for the one task that waits for it: remembered until that task consumes it."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Call the task, now or when it next waits."""
        self._event.set()

    def consume(self) -> bool:
        """Whether the flag was set since the last call; it is not set afterwards."""
        pending = self._event.is_set()
        if pending:
            self._event = trio.Event()
        return pending

    async def wait(self) -> None:
        """Return while the flag is set; it stays set."""
        await self._event.wait()
