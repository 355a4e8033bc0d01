"""The table as it should be: a value, compared and replaced whole."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType
from typing import NamedTuple

from shim.core.binding import Address
from shim.core.firewall.names import IPV4, IPV6, Family

NOTHING: Mapping["Served", int] = MappingProxyType({})


class Served(NamedTuple):
    """A TCP address that Envoy listens on: an IP in its canonical spelling, or the wildcard, and a port."""

    ip: str
    port: int

    @property
    def family(self) -> Family:
        """IPv4 or IPv6."""
        return IPV6 if ":" in self.ip else IPV4

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of its family."""
        return self.ip in (IPV4.wildcard, IPV6.wildcard)


class Keeping(NamedTuple):
    """How connections that keep their client's address find back to Envoy; each may be in use already."""

    mark: int = 0x7776
    route_table: int = 7776
    rule_priority: int = 7776
    # Interfaces of no network client: those of containers, and of the host itself.
    inner: tuple[str, ...] = ("lo", "docker0", "docker_gwbridge", "br-*")

    def knows(self, interface: str) -> bool:
        """Whether answers that come in by this interface find back."""
        return any(fnmatchcase(interface, name) for name in self.inner)


USUAL = Keeping()


class Table(NamedTuple):
    """What `table inet envoy_docker_shim` should be.

    ``served`` are the addresses an Envoy has acknowledged.  ``keep`` maps those whose container wants to see
    the network client's address to the port of the second listener, on the loopback address of the same IP
    version, transparent and with the original_src filter; one that is not served does not count.  ``local``:
    an Envoy runs, so clients on this host go to it.  ``fail_open``: clients without an Envoy go Docker's way.
    ``held`` are on their way to a dockerd that returns: a client that finds nobody there tries again a second
    later.
    """

    served: frozenset[Served] = frozenset()
    keep: Mapping[Served, int] = NOTHING
    local: bool = False
    fail_open: bool = True
    keeping: Keeping = USUAL
    held: frozenset[Served] = frozenset()

    @property
    def takes_local(self) -> bool:
        """Whether clients on this host are to be kept off Docker's rules: a strict table always does."""
        return self.local or not self.fail_open

    def kept(self) -> dict[Served, int]:
        """``keep`` without what is not served: such a connection would be lost between two tables."""
        if self.keep.keys() <= self.served:
            return dict(self.keep)
        return {address: port for address, port in self.keep.items() if address in self.served}


def served(address: Address) -> Served | None:
    """The address as an element of the table; None: it cannot be in it.

    UDP is Docker's.  A loopback address is not reached from the network, and Docker's rules leave it alone.
    """
    ip = _canonical(address.ip)
    return Served(ip, address.port) if ip and address.proto == "tcp" else None


def served_of(addresses: Iterable[Address]) -> frozenset[Served]:
    """Those that can be in the table, as its elements."""
    return frozenset(found for address in addresses if (found := served(address)) is not None)


@lru_cache(maxsize=1024)
def _canonical(text: str) -> str:
    """An IP as nft prints it; empty for one that the table cannot have."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return ""
    if ip.is_loopback or (isinstance(ip, IPv6Address) and (ip.ipv4_mapped or ip.scope_id)):
        return ""
    return str(ip)
