"""What is published: an address on the host, and the container port behind it."""

import sys
from typing import NamedTuple

from shim.wire.flags import FlagError, format_address, parse_flags

PROTOCOLS = ("tcp", "udp")
# Host addresses that stand for every address of their family.
WILDCARDS = ("0.0.0.0", "::")


class Address(NamedTuple):
    """A published address: the identity of a binding.  Two host IPs on one port are two addresses."""

    proto: str
    ip: str
    port: int

    def __str__(self) -> str:
        return f"{self.proto}/{format_address(self.ip, self.port)}"


class Backend(NamedTuple):
    """Where a container listens."""

    ip: str
    port: int

    def __str__(self) -> str:
        return format_address(self.ip, self.port)


class Binding(NamedTuple):
    """One published port: what one shim stands for."""

    address: Address
    backend: Backend

    def __str__(self) -> str:
        return f"{self.address} -> {self.backend}"


def binding_from_flags(args: list[str]) -> Binding:
    """The binding that a shim started with these flags (argv[1:]) stands for.

    Raises FlagError: on a bad flag, and on a protocol that is neither tcp nor udp.
    """
    proto, host_ip, host_port, container_ip, container_port, _ = parse_flags(args)
    if proto not in PROTOCOLS:
        raise FlagError(f"unsupported protocol {proto!r}: only tcp and udp are served")
    # The same few texts in thousands of bindings are kept once.
    address = Address(sys.intern(proto), sys.intern(host_ip), host_port)
    return Binding(address, Backend(sys.intern(container_ip), container_port))


def second_name(address: Address) -> str:
    """What the second listener of an address is called (shim.core.leases.second_listeners)."""
    return f"{address}#keep"


def listener_ip(address: Address) -> str:
    """The loopback address on which the second listener of an address listens."""
    return "::1" if ":" in address.ip else "127.0.0.1"


def overlap(one: Address, other: Address) -> bool:
    """Whether two addresses cannot both be listened on."""
    if (one.proto, one.port, ":" in one.ip) != (other.proto, other.port, ":" in other.ip):
        return False
    return one.ip == other.ip or one.ip in WILDCARDS or other.ip in WILDCARDS
