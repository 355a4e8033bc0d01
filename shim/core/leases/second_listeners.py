"""Which published addresses have a second listener, and on which port: for containers that see their clients.

The listener of a published port serves everybody.  The second one is for clients on the network only: the
firewall hands them to it (shim.core.firewall), and it calls the container from the client's own address.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from shim.core.binding import Address, Binding, listener_ip, second_name
from shim.core.discovery.versions import Resource, VersionedSet
from shim.core.envoy.modes import Serving
from shim.core.firewall.names import PORTS
from shim.core.firewall.table import USUAL, Served, served
from shim.core.leases.lease import Lease, Stage
from shim.core.service import Service

# (binding, cluster, service, serving, the second listener's port or 0: its first listener)
ListenerMaker = Callable[[Binding, str, Service, Serving, int], Resource]

OTHER_FAMILY = "the container is of another IP version"
NOT_YET = "no Envoy listens there yet"
NO_PORT = "no port of keep_ports is free"


class Second(NamedTuple):
    """A second listener: its port, and the listeners' sequence with which it was put in."""

    port: int
    sequence: int


class SecondListeners:
    """``is_free(ip, port)``: nobody listens there.  ``interface_to(ip)``: what leads to a container.

    The port of an address is the same after a restart of the registrar, so that Envoy keeps its listener: it
    is the one that the firewall's table has, or follows from the address.
    """

    def __init__(
        self,
        ports: Sequence[int] = PORTS,
        is_free: Callable[[str, int], bool] = lambda ip, port: True,
        interface_to: Callable[[str], str] = lambda ip: "",
    ) -> None:
        self.wanted = False  # there is a firewall to lead clients there
        self.refused = ""  # why an Envoy will have none
        self._ports = ports
        self._is_free = is_free
        self._interface_to = interface_to
        self._inherited: Mapping[Served, int] = {}
        self.listed: dict[Address, Second] = {}
        self._avoided: set[int] = set()

    def inherit(self, kept: Mapping[Served, int]) -> None:
        """Take over the ports that an earlier registrar gave."""
        self._inherited = {address: port for address, port in kept.items() if port in self._ports}

    def why_not(self, lease: Lease) -> str | None:
        """Why the container of this lease does not see its clients' addresses; None: nobody wants that."""
        serving, (address, backend) = lease.serving, lease.binding
        if serving is None or not (serving.keeps_client and serving.mode.takes_network):
            return None
        if served(address) is None:
            return None  # it has no clients on the network
        if (":" in address.ip) != (":" in backend.ip):
            return OTHER_FAMILY
        if not self.wanted:
            return "firewall: off"
        bridge = self._interface_to(backend.ip)
        if bridge and not USUAL.knows(bridge):
            return f"the bridge {bridge} is not named as Docker names them"
        return self.refused or (NO_PORT if lease.stage is Stage.LISTED and address not in self.listed else "")

    def put(self, lease: Lease, listeners: VersionedSet, make: ListenerMaker) -> None:
        """Put in, or take out, the second listener of a listed lease, as is wanted and possible now."""
        assert lease.service is not None and lease.serving is not None
        address = lease.binding.address
        if port := self._port_for(lease):
            made = make(lease.binding, lease.cluster, lease.service, lease.serving, port)
            listeners.put(second_name(address), made)
            self.listed[address] = Second(port, listeners.sequence)
        else:
            self.remove(address, listeners)

    def remove(self, address: Address, listeners: VersionedSet) -> None:
        """Take out the second listener of an address, if it has one."""
        self.listed.pop(address, None)
        listeners.remove(second_name(address))

    def avoid(self, address: Address) -> None:
        """Another program has the port of this address's second listener."""
        self._avoided.add(self.listed.pop(address).port)

    def _port_for(self, lease: Lease) -> int:
        """The port for this lease's second listener; 0: it is to have none."""
        address = lease.binding.address
        if self.why_not(lease) not in ("", NO_PORT):
            return 0
        return self.listed[address].port if address in self.listed else self._find(address)

    def _find(self, address: Address) -> int:
        taken = self._avoided.union(second.port for second in self.listed.values())
        found = served(address)
        inherited = self._inherited.get(found, 0) if found else 0
        if inherited and inherited not in taken:
            return inherited
        reserved = set(self._inherited.values())
        start = crc32(str(address).encode())
        for n in range(len(self._ports)):
            port = self._ports[(start + n) % len(self._ports)]
            if port not in taken and port not in reserved and self._is_free(listener_ip(address), port):
                return port
        return 0
