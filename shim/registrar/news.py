"""Events that happen more than once, for tasks that wait for the next time."""

import trio


class News:
    """Told to whoever waits at that moment, and forgotten."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def tell(self) -> None:
        """Wake everyone who waits."""
        event, self._event = self._event, trio.Event()
        event.set()

    async def wait(self) -> None:
        """Until it is told the next time."""
        await self._event.wait()


class Request:
    """Something one task is wanted for: remembered until that task takes it."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def make(self) -> None:
        """The task is wanted, now or when it next waits."""
        self._event.set()

    def take(self) -> bool:
        """Whether it was wanted since the last time; that is forgotten."""
        wanted = self._event.is_set()
        if wanted:
            self._event = trio.Event()
        return wanted

    async def wait(self) -> None:
        """Until it is wanted, which ``take`` then says."""
        await self._event.wait()
