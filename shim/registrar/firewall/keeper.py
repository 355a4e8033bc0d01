"""The task that keeps the kernel's table as the registrar wants it, whatever other programs change."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import trio

from shim.core.firewall import notices
from shim.core.firewall.names import FAMILY, TABLE
from shim.core.firewall.table import USUAL, Keeping, Table
from shim.registrar.firewall import watch
from shim.registrar.firewall.backoff import Backoff
from shim.registrar.firewall.kernel import Kernel
from shim.registrar.firewall.probe import why_not
from shim.registrar.firewall.programs import ProgramError, Programs

log = logging.getLogger("envoy-docker-shim")

PROBE_AGAIN = 60.0  # seconds; a host that lacked `nft` may get it
GATHER = 0.01  # seconds; a flush is many notices, a reload many transactions
SETTLE = 0.1  # seconds; a dockerd that starts makes its tables one by one
RENEW_EVERY = 2.0  # seconds; for two programs that both want to be the youngest


class Status(NamedTuple):
    """The state of the table, for `status` and the log."""

    active: bool
    reason: str  # why it is not active
    wanted: int  # generations, as want() returns them
    applied: int
    whole: bool  # the kernel's table is the one wanted
    error: str  # what went wrong last, empty once it is right again
    keep_error: str  # why client addresses are not kept although that is wanted
    restored: int  # how often other programs took something away
    restored_at: float  # the last time, seconds since the epoch; 0: never


class Firewall:
    """The table: want() says what it should be, run() makes it so, a transaction at a time, newest first.

    Before the first want() the kernel's table stays as an earlier registrar left it, and when run() ends it
    stays too.  ``keeping`` is what an earlier registrar may have left.  ``on_settled`` is called with each
    generation that settled, of several at once with the last; within want() where there is no firewall.
    """

    def __init__(
        self,
        programs: Programs | None = None,
        keeping: Keeping = USUAL,
        on_settled: Callable[[int], None] = lambda generation: None,
    ) -> None:
        self._programs = programs or Programs()
        self._on_settled = on_settled
        self._kernel = Kernel(self._programs, keeping)
        self._table: Table | None = None
        self._wanted = self._applied = self._settled = 0
        self._active, self._reason, self._probed = False, "not looked into yet", False
        self._error = ""
        self._touched: set[int] = set()  # netlink port ids: of a process that has one socket, its pid
        self._unrouted: set[int] = set()  # the same, of those who deleted routing rules or routes
        self._missed = False
        self._restored, self._restored_at = 0, 0.0
        self._fights, self._failures = Backoff(), Backoff()
        self._changed, self._settling, self._overtaken = trio.Event(), trio.Event(), trio.Event()

    def want(self, table: Table | None) -> int:
        """From now on the kernel's table should be this one (None: there should be none).

        Returns its generation, which has settled once it, or a later one, was applied or could not be.
        """
        self._table = table
        self._wanted += 1
        if self._probed and not self._active:
            self._settle(self._wanted)
        self._changed.set()
        return self._wanted

    def clear(self) -> int:
        """From now on there should be no table; the next want() makes one again."""
        return self.want(None)

    async def settled(self, generation: int, timeout: float) -> bool:
        """Wait until this generation has settled, at most ``timeout`` seconds.

        Returns whether it, or a later one, is what the kernel has.
        """
        with trio.move_on_after(timeout):
            while self._settled < generation:
                await self._settling.wait()
        return self._applied >= generation

    async def present(self) -> Table:
        """The addresses in the kernel's table now: what an earlier registrar left."""
        return await self._kernel.present()

    @property
    def status(self) -> Status:
        """The state of the table now."""
        whole = self._kernel.known and self._applied == self._wanted and not self._disturbed
        return Status(
            self._active,
            self._reason,
            self._wanted,
            self._applied,
            whole,
            self._error,
            self._kernel.keep_error,
            self._restored,
            self._restored_at,
        )

    async def run(self) -> None:
        """Keep the table until cancelled.  Raises nothing: ports are served without a firewall too."""
        await self._until_possible()
        async with trio.open_nursery() as nursery:
            self._watch(nursery, watch.NETLINK_NETFILTER, watch.NFTABLES_GROUP, self._heard)
            self._watch(nursery, 0, watch.ROUTING_GROUPS, self._heard_of_routing)
            nursery.start_soon(self._stay_youngest)
            while True:
                await self._changed.wait()
                await self._make_it_so()

    async def _until_possible(self) -> None:
        while True:
            reason = await why_not(self._programs)
            if reason != self._reason:
                self._reason = reason
                if reason:
                    log.warning("no firewall table, Docker's rules lead past Envoy: %s", reason)
                else:
                    log.info("keeping the firewall table %s %s", FAMILY, TABLE)
            self._active, self._probed = not reason, True
            if self._active:
                return
            self._settle(self._wanted)
            await trio.sleep(PROBE_AGAIN)

    def _watch(
        self, nursery: trio.Nursery, protocol: int, groups: int, heard: Callable[[bytes], None]
    ) -> None:
        try:
            sock = watch.listen(protocol, groups)
        except OSError as error:
            log.warning("the firewall's changes by others go unnoticed: %s", error)
        else:
            nursery.start_soon(watch.follow, sock, heard, self._missed_some)

    def _heard(self, data: bytes) -> None:
        if touched := notices.touching(data):
            self._touched |= touched
            if self._disturbed:
                self._changed.set()
        if self._is_others(notices.mapping(data)):
            self._overtaken.set()

    def _heard_of_routing(self, data: bytes) -> None:
        self._unrouted |= notices.unrouting(data)
        if self._is_others(self._unrouted):
            self._changed.set()

    def _missed_some(self) -> None:
        self._missed = True
        self._changed.set()

    @property
    def _disturbed(self) -> bool:
        """Whether another program changed the table that the registrar had made."""
        return self._wanted > 0 and self._is_others(self._touched)

    def _is_others(self, port_ids: set[int]) -> bool:
        return bool(port_ids.difference(self._programs.pids))

    async def _make_it_so(self) -> None:
        """One round: apply what is wanted now, or find it there."""
        self._changed = trio.Event()
        if self._wanted == 0:
            self._touched.clear()
            return
        restoring = await self._is_lost()
        if restoring:
            self._kernel.forget()
            if self._wanted == self._applied:
                await self._wait(self._fights.next(trio.current_time()) or GATHER)
        if self._is_others(self._unrouted):
            self._kernel.doubt_routing()
        self._touched.clear()
        self._unrouted.clear()
        generation = self._wanted
        try:
            await self._kernel.apply(self._table)
        except ProgramError as error:
            if str(error) != self._error:
                log.error("the firewall table cannot be changed: %s", error)
            self._error = str(error)
            self._settle(generation)
            await self._wait(self._failures.next(trio.current_time()) or GATHER)
            self._changed.set()
            return
        if restoring:
            self._restored, self._restored_at = self._restored + 1, time.time()
            log.warning("another program changed the firewall table: restored")
        if self._error:
            log.info("the firewall table is as it should be again")
        self._error, self._applied = "", generation
        self._settle(generation)

    async def _stay_youngest(self) -> None:
        """Replace the table after others that map addresses were made: script.py says why."""
        while True:
            await self._overtaken.wait()
            await trio.sleep(SETTLE)
            self._overtaken = trio.Event()
            self._kernel.renew()
            self._changed.set()
            await trio.sleep(RENEW_EVERY)

    async def _is_lost(self) -> bool:
        """Whether another program took away what was applied."""
        if self._missed:
            self._missed = False
            self._kernel.doubt_routing()
            return not await self._kernel.agrees()
        return self._disturbed

    def _settle(self, generation: int) -> None:
        if generation > self._settled:
            self._settled = generation
            self._settling.set()
            self._settling = trio.Event()
            self._on_settled(generation)

    async def _wait(self, seconds: float) -> None:
        """Wait so long, but not longer than until another table is wanted."""
        wanted = self._wanted
        with trio.move_on_after(seconds):
            while self._wanted == wanted:
                await self._changed.wait()
                self._changed = trio.Event()
