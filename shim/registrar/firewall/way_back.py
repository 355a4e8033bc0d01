"""The routing rule and the route that bring answers to a client's address back to Envoy."""

from collections.abc import Iterable

from shim.core.firewall import routes
from shim.core.firewall.names import FAMILIES, Family
from shim.core.firewall.table import Keeping
from shim.registrar.firewall.programs import ProgramError, Programs

Way = tuple[Family, Keeping]


class WayBack:
    """The rules and routes: set before the first connection needs them, taken away after the last."""

    def __init__(self, programs: Programs, keeping: Keeping) -> None:
        self._programs = programs
        # What may be there; at first what an earlier registrar may have left.
        self._set: set[Way] = {(family, keeping) for family in FAMILIES}
        self._sure: set[Way] = set()

    def doubt(self) -> None:
        """Another program changed routing rules: check them at the next ``ensure``."""
        self._sure.clear()

    async def ensure(self, families: Iterable[Family], keeping: Keeping) -> None:
        """Make what is missing.  Raises ProgramError, Conflict, ValueError."""
        ways = {(family, keeping) for family in families} - self._sure
        # All are checked before the first is made: a conflict leaves nothing behind.
        missing = [routes.missing(*way, *await self._look(way)) for way in ways]
        self._set |= ways
        for command in (command for commands in missing for command in commands):
            await self._programs.ip(command)
        self._sure |= ways

    async def remove(self) -> None:
        """Take away this program's rules and routes, and nothing else."""
        left, self._set = self._set, set()
        self._sure.clear()
        for way in left:
            try:
                for command in routes.remaining(*way, *await self._look(way)):
                    await self._programs.ip(command)
            except (ProgramError, ValueError):
                continue  # no `ip`, or no such IP version: then there is nothing

    async def _look(self, way: Way) -> tuple[str, str]:
        family, keeping = way
        rules = await self._programs.ip(routes.show_rules(family))
        try:
            return rules, await self._programs.ip(routes.show_routes(family, keeping))
        except ProgramError:
            return rules, ""  # a table with no route yet does not exist
