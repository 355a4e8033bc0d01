"""How clients on the network reach published ports: keeps the firewall's table in step with the listeners.

With Docker's own firewall on, its rules lead network clients to the container, past Envoy; the table keeps
clients of served addresses on this host (shim.core.firewall).  Without Docker's rules the table changes
nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import trio

from shim.core.binding import Address, Binding
from shim.core.envoy.modes import Serving
from shim.core.firewall.elements import Elements
from shim.core.firewall.names import FAMILIES, IPV4, IPV6, Family
from shim.core.firewall.table import USUAL, Keeping, Table, served, served_of
from shim.core.leases.lease import Lease
from shim.core.leases.second_listeners import NOT_YET, SecondListeners
from shim.core.leases.served import ServedAddresses
from shim.registrar.events import PendingFlag
from shim.registrar.firewall.docker_rules import docker_rules
from shim.registrar.firewall.keeper import Firewall

# How long (seconds) a withdrawal of listeners is held back from Envoys, until the table has changed.
WITHDRAWAL_TIMEOUT = 0.5
# For how long clients of a port are held that a returning dockerd makes anew (seconds).
HOLD = 10.0
# An Envoy that was there before this registrar polls again within this (seconds).
ENVOY_RETURN = 1.0


class Way(NamedTuple):
    """How network clients reach an address: "envoy", "docker", "shim" or "nobody", and why not by Envoy."""

    by: str
    why: str = ""


class Network:
    """A member of the registrar's deadlines.  ``settled`` says when the leases are complete.

    ``fail_open``: network clients that find no Envoy go Docker's own way.
    """

    def __init__(
        self,
        addresses: ServedAddresses,
        second: SecondListeners,
        clock: Callable[[], float],
        settled: Callable[[], bool],
        fail_open: bool = True,
        keeping: Keeping = USUAL,
    ) -> None:
        self.firewall: Firewall | None = None
        self.docker_came = PendingFlag()  # set when a dockerd may have written its rules
        # Whether Docker has any; None: not known.
        self._docker_rules: dict[Family, bool | None] = dict.fromkeys(FAMILIES)
        self._addresses = addresses
        self._second = second
        self._keeping = keeping
        self._settled = settled
        self.fail_open = fail_open
        self._table = Table()
        self._elements = Elements()
        self._local_until = clock() + ENVOY_RETURN
        self._inherited = Table()
        self._handed_over: frozenset[Address] = frozenset()
        self._held: dict[Address, float] = {}  # until when
        self._withdrawal = self._withdrawn = 0  # generations of the firewall

    def use(self, firewall: Firewall, present: Table) -> None:
        """Keep this firewall, in whose table an earlier registrar left the addresses of ``present``."""
        self.firewall, self._inherited = firewall, present
        self._second.wanted = True
        self._second.inherit(present.keep)

    def take_over(self, leases: "list[Address]") -> None:
        """Take over the addresses of running shims that the table has: they stay served."""
        found = [(address, served(address)) for address in leases]
        self._addresses.inherit(
            frozenset(address for address, element in found if element in self._inherited.served),
            {address: self._inherited.keep[e] for address, e in found if e and e in self._inherited.keep},
        )

    def due(self) -> float:
        """When an Envoy of an earlier registrar should have polled, or clients are held no longer.

        Seconds; infinity: neither.
        """
        back = self._local_until if self._inherited.served else float("inf")
        return min([back, *self._held.values()])

    def advance(self, now: float) -> None:
        """Ask for another table, if the addresses have changed; ``now``: seconds."""
        if self.firewall is None:
            self._addresses.skip()
            return
        if not self._settled():
            return
        self._addresses.update()
        if now >= self._local_until:
            self._inherited = Table()
        local = self._addresses.envoy_is_there or bool(self._inherited.served)
        handed_over = self._addresses.handed_over
        self._held |= dict.fromkeys(handed_over - self._handed_over, now + HOLD)
        self._handed_over = handed_over
        served_now = self._addresses.addresses
        self._held = {a: end for a, end in self._held.items() if now < end and a not in served_now}
        self._elements.follow(served_now, self._addresses.kept)
        table = Table(
            self._elements.served,
            self._elements.kept,
            local,
            self.fail_open,
            self._keeping,
            held=served_of(self._held),
        )
        if table == self._table and self.firewall.status.wanted:
            return
        old = self._table
        gone = not (old.served <= table.served and old.kept().items() <= table.kept().items())
        self._table = table
        generation = self.firewall.want(table)
        if gone:
            self._withdrawal = generation

    @property
    def withdrawing(self) -> bool:
        """Whether addresses are still to be taken out of the table: until then no Envoy is told of it."""
        return self._withdrawal > self._withdrawn

    async def wait_for_withdrawal(self) -> None:
        """Return when they are taken out, or WITHDRAWAL_TIMEOUT is over."""
        assert self.firewall is not None
        generation = self._withdrawal
        await self.firewall.settled(generation, WITHDRAWAL_TIMEOUT)
        self._withdrawn = max(self._withdrawn, generation)

    @property
    def size(self) -> int:
        """How many addresses the table has."""
        return len(self._table.served)

    @property
    def docker_rules(self) -> bool | None:
        """Whether Docker has firewall rules of its own; None: not known."""
        found = set(self._docker_rules.values())
        return True if True in found else None if None in found else False

    def way_to(self, binding: Binding, serving: Serving | None) -> Way:
        """How clients on the network reach it; ``serving``: None until labels are known."""
        address = binding.address
        found = served(address._replace(proto="tcp"))
        if found is None:
            return Way("nobody", "a loopback address")
        if not self._is_dockers(binding):
            return Way("shim" if address.proto == "udp" else "envoy")
        if address.proto == "udp":
            return Way("docker", "UDP is Docker's")
        if serving is not None and not serving.mode.takes_network:
            return Way("docker", f"mode {serving.mode.name}")
        if self.firewall is None:
            return Way("docker", "firewall: off")
        status = self.firewall.status
        if not status.active:
            return Way("docker", status.reason)
        if found not in self._table.served:
            return Way("docker", NOT_YET)
        if self.fail_open and not self._table.local:
            return Way("docker", "no Envoy is there")
        return Way("envoy") if status.whole else Way("docker", status.error or "the table is being written")

    def why_not_kept(self, lease: Lease) -> str | None:
        """Why its container does not see network clients' addresses; empty: it does; None: as is wanted."""
        why = self._second.why_not(lease)
        if why or why is None or self.firewall is None:
            return why
        status = self.firewall.status
        if not status.active or status.keep_error:
            return status.reason or status.keep_error
        found = served(lease.binding.address)
        return "" if status.whole and found in self._table.kept() else NOT_YET

    def _is_dockers(self, binding: Binding) -> bool:
        """Whether rules of Docker's may lead to the container: none maps IPv6 to IPv4."""
        outer, inner = (IPV6 if ":" in ip else IPV4 for ip in (binding.address.ip, binding.backend.ip))
        return outer is inner and self._docker_rules[outer] is not False

    async def run(self) -> None:
        """Keep the table, and check for Docker's rules after each return of Docker.  Does not return."""
        async with trio.open_nursery() as nursery:
            if self.firewall is not None:
                nursery.start_soon(self.firewall.run)
            while True:
                for family in FAMILIES:
                    self._docker_rules[family] = await docker_rules(family)
                await self.docker_came.wait()
                self.docker_came.consume()
