"""Published addresses as the table's elements, kept in step with sets that change little by little.

A table is a value, and ten thousand addresses are too many to be spelled anew for each change: what has not
changed is taken over, so that a change costs some copies of sets and no look at each element.
"""

from collections.abc import Mapping

from shim.core.binding import Address
from shim.core.firewall.table import NOTHING, Served, served, served_of


class Elements:
    """``served`` and ``kept`` as they are in a Table, for the addresses of the last ``follow``."""

    def __init__(self) -> None:
        self.served: frozenset[Served] = frozenset()
        self.kept: Mapping[Served, int] = NOTHING
        self._addresses: frozenset[Address] = frozenset()
        self._ports: Mapping[Address, int] = {}
        self._others = False  # some address is spelled differently: another may be the same element

    def follow(self, addresses: frozenset[Address], ports: Mapping[Address, int]) -> None:
        """Take over the addresses, and which of them lead to a second listener's port."""
        if addresses is not self._addresses:
            come, gone = addresses - self._addresses, self._addresses - addresses
            self._others = self._others or any(map(_is_another, come))
            if self._others:
                self.served = served_of(addresses)
            else:
                self.served = self.served.difference(served_of(gone)).union(served_of(come))
            self._addresses = addresses
        if ports is not self._ports:
            changed = dict(self._ports if self._others else self._ports.items() - ports.items())
            kept = dict(self.kept)
            for element in served_of(changed):
                kept.pop(element, None)
            changed = dict(ports if self._others else ports.items() - self._ports.items())
            kept |= {new: port for address, port in changed.items() if (new := served(address)) is not None}
            self.kept, self._ports = kept, ports


def _is_another(address: Address) -> bool:
    """Whether its element is spelled differently."""
    element = served(address)
    return element is not None and element.ip != address.ip
