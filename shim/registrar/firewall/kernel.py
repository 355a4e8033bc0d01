"""The kernel's table as last applied, and the way from there to another."""

import logging

from shim.core.firewall import listing, script
from shim.core.firewall.names import FAMILY, TABLE
from shim.core.firewall.routes import Conflict
from shim.core.firewall.table import Keeping, Table
from shim.registrar.firewall.probe import why_not
from shim.registrar.firewall.programs import ProgramError, Programs
from shim.registrar.firewall.way_back import WayBack

log = logging.getLogger("envoy-docker-shim")

LIST = ("-j", "list", "table", FAMILY, TABLE)


class Kernel:
    """The table that was applied last, and whether the kernel still has it."""

    def __init__(self, programs: Programs, keeping: Keeping) -> None:
        self._programs = programs
        self._way_back = WayBack(programs, keeping)
        self._keep_possible = False
        self.table: Table | None = None
        self.known = False
        self._older = False  # than a table of another program's that maps addresses
        self.keep_error = ""  # why client addresses are not kept although they should be

    async def apply(self, table: Table | None) -> None:
        """Make the kernel's table this one: by what changed if that is known, else whole.

        Raises ProgramError.
        """
        table = await self._with_way_back(table)
        change = self._change_to(table)
        try:
            if change is None:
                await self._replace(table)
            elif change:
                await self._programs.nft("-f", "-", script=change)
        except ProgramError as error:
            if change is None:
                raise
            log.debug("the firewall table is not what it was: %s", error)
            await self._replace(table)
        self.table, self.known = table, True
        if table is None or not table.kept():
            await self._way_back.remove()

    def forget(self) -> None:
        """Another program changed the table: the next apply() replaces it."""
        self.known = False
        self._way_back.doubt()

    def renew(self) -> None:
        """Another program made a table that maps addresses: the next apply() makes this one the youngest."""
        self._older = True

    def doubt_routing(self) -> None:
        """Another program changed routing: the next apply() checks it."""
        self._way_back.doubt()

    async def agrees(self) -> bool:
        """Whether the kernel's table is what was applied last: reads all of it."""
        if not self.known:
            return False
        if self.table is None:
            return True
        try:
            found = listing.parse(await self._programs.nft(*LIST))
        except (ProgramError, listing.ListingError):
            return False
        return listing.agrees(found, self.table, script.whole(self.table))

    async def present(self) -> Table:
        """The addresses in the kernel's table now; none where it cannot be read."""
        try:
            found = listing.parse(await self._programs.nft(*LIST))
        except (ProgramError, listing.ListingError):
            return Table()
        return Table(found.served, found.keep)

    def _change_to(self, table: Table | None) -> str | None:
        if not self.known:
            return None
        if table is None or self.table is None:
            return "" if table is self.table else None
        return None if self._older else script.delta(self.table, table)

    async def _replace(self, table: Table | None) -> None:
        self.known = self._older = False
        await self._programs.nft("-f", "-", script=script.whole(table))

    async def _with_way_back(self, table: Table | None) -> Table | None:
        """The table, or without `keep` where the answers' way back cannot be had: connections would hang."""
        if table is None or not (kept := table.kept()):
            self.keep_error = ""
            return table
        problem = "" if self._keep_possible else await why_not(self._programs, keep=True)
        self._keep_possible = not problem
        if not problem:
            try:
                await self._way_back.ensure({address.family for address in kept}, table.keeping)
            except (ProgramError, Conflict, ValueError) as error:
                problem = str(error)
        if problem and problem != self.keep_error:
            log.warning("client addresses are not kept: %s", problem)
        self.keep_error = problem
        return table._replace(keep={}) if problem else table
