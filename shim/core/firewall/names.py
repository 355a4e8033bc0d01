"""Every name and number that is put into the kernel's tables."""

from typing import NamedTuple

FAMILY = "inet"
TABLE = "envoy_docker_shim"

# A base chain that maps an address first wins; Docker's are at -100, the nftables backend of Engine 29 too.
PREROUTING = "prerouting"
PREROUTING_HOOK = "type nat hook prerouting priority dstnat - 10; policy accept;"
OUTPUT = "output"
OUTPUT_HOOK = "type nat hook output priority -110; policy accept;"
# After connection tracking (-200), before any address is mapped.
KEEP = "keep"
KEEP_HOOK = "type filter hook prerouting priority mangle; policy accept;"
# Of second listeners: below the ports that the kernel gives to clients, and of no well-known program.
PORTS = range(28200, 30000)
# A jump from PREROUTING: see script.py.
REUSED = "reused_source_port"
HELD = "held"
HELD_HOOK = "type filter hook input priority filter; policy accept;"


class Family(NamedTuple):
    """One IP version in nft's words, and the names of its sets and maps."""

    version: int
    proto: str  # of `meta nfproto`
    ip: str  # `ip daddr`, `dnat ip to`
    wildcard: str
    loopback: str  # not to be mapped where it is the destination
    listener: str  # where a second listener listens, in nft's spelling
    any: str  # the set of ports served on the wildcard address
    one: str  # the set of single addresses
    keep_any: str  # the same two as maps to the second listener's port
    keep_one: str

    @property
    def any_key(self) -> str:
        """The key of a set of ports that are served on the wildcard address."""
        # With the protocol in the key the kernel makes a hash of it.  A set of ports alone is a bitmap with
        # a list, in which 10,000 ports take 0.4 s to add and 1.2 s to replace; so they take 0.03 and 0.05.
        return "inet_proto . inet_service"

    @property
    def one_key(self) -> str:
        """The key of a set of single addresses."""
        return f"ipv{self.version}_addr . inet_service"


IPV4 = Family(
    4, "ipv4", "ip", "0.0.0.0", "127.0.0.0/8", "127.0.0.1", "any4", "one4", "keep_any4", "keep_one4"
)
IPV6 = Family(6, "ipv6", "ip6", "::", "::1", "[::1]", "any6", "one6", "keep_any6", "keep_one6")
FAMILIES = (IPV4, IPV6)
