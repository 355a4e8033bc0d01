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
from shim.core.firewall.names import FAMILIES, IPV4, IPV6, Family
from shim.core.firewall.table import Served, Table, served, served_of
from shim.core.leases.served import ServedAddresses
from shim.registrar.events import PendingFlag
from shim.registrar.firewall.docker_rules import docker_rules
from shim.registrar.firewall.keeper import Firewall

# How long (seconds) a withdrawal of listeners is held back from Envoys, until the table has changed.
WITHDRAWAL_TIMEOUT = 0.5
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
        clock: Callable[[], float],
        settled: Callable[[], bool],
        fail_open: bool = True,
    ) -> None:
        self.firewall: Firewall | None = None
        self.docker_came = PendingFlag()  # set when a dockerd may have written its rules
        # Whether Docker has any; None: not known.
        self._docker_rules: dict[Family, bool | None] = dict.fromkeys(FAMILIES)
        self._addresses = addresses
        self._settled = settled
        self.fail_open = fail_open
        self._table = Table()
        self._local_until = clock() + ENVOY_RETURN
        self._inherited: frozenset[Served] = frozenset()
        self._withdrawal = self._withdrawn = 0  # generations of the firewall

    def use(self, firewall: Firewall, present: frozenset[Served]) -> None:
        """Keep this firewall, in whose table an earlier registrar left the addresses ``present``."""
        self.firewall, self._inherited = firewall, present

    def take_over(self, leases: "list[Address]") -> None:
        """Take over the addresses of running shims that the table has: they stay served."""
        self._addresses.inherit(frozenset(a for a in leases if served(a) in self._inherited))

    def due(self) -> float:
        """When an Envoy that was there before this registrar should have polled (seconds); infinity: none."""
        return self._local_until if self._inherited else float("inf")

    def advance(self, now: float) -> None:
        """Ask for another table, if the addresses have changed; ``now``: seconds."""
        if self.firewall is None or not self._settled():
            return
        self._addresses.update()
        if now >= self._local_until:
            self._inherited = frozenset()
        local = self._addresses.envoy_is_there or bool(self._inherited)
        table = Table(served_of(self._addresses.addresses), local=local, fail_open=self.fail_open)
        if table == self._table and self.firewall.status.wanted:
            return
        gone = not self._table.served <= table.served
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
            return Way("docker", "no Envoy listens there yet")
        return Way("envoy") if status.whole else Way("docker", status.error or "the table is being written")

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
