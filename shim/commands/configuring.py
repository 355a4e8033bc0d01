"""What `up --configure-docker` adds: dockerd has our settings from the first Envoy on until `up` ends."""

import logging
import os
import sys

import trio

from shim.commands.common import CommandError, read_api
from shim.config.keys import Config
from shim.setup.lent_settings import LentSettings
from shim.setup.serving import await_envoy
from shim.setup.tools import SetupError

log = logging.getLogger("envoy-docker-shim")


class Configuring:
    """Beside a registrar and an Envoy: `run` changes the settings, `undo` takes that back."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lent = LentSettings(os.path.realpath(sys.argv[0]), log.info)
        self._over = trio.Event()
        self._done = False
        self.failed = ""  # why it could not be done, or not be undone

    async def run(self, scope: trio.CancelScope) -> None:
        """Wait for an Envoy, and change the settings; cancels ``scope`` where that fails."""
        try:
            # Threads that nobody leaves behind: half a change would be worse than a wait.
            await trio.to_thread.run_sync(self._lend)
            self._done = True
            log.info("Docker's ports are served from here on, until this is told to end")
        except (SetupError, OSError) as error:
            self.failed = f"Docker is not configured: {error}"
            scope.cancel()
        finally:
            self._over.set()

    async def undo(self) -> None:
        """Give dockerd its own settings back, if it had ours."""
        await self._over.wait()
        if not self._done:
            return
        try:
            await trio.to_thread.run_sync(self._lent.give_back)
            log.info("Docker has its own proxies again")
        except (SetupError, OSError) as error:
            self.failed = f"Docker has its own settings NOT back: {error}"

    def check(self) -> None:
        """Raises CommandError where it failed."""
        if self.failed:
            raise CommandError(self.failed)

    def _lend(self) -> None:
        await_envoy(lambda: dict(read_api(self._config.api_address, "/status")))
        self._lent.lend()
