"""The strict way's own rules: containers reach the world, and nobody walks into them."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

TABLE = "docker_egress"
# Docker's first 15 networks of each kind.
USUAL4, USUAL6 = "172.16.0.0/12", "fd00:d0c::/64"
USUAL_BRIDGES = ("docker0", "br-*")


class Network(NamedTuple):
    """One of Docker's networks with a bridge; `internal` ones are not to reach the world."""

    name: str
    bridge: str
    subnets: tuple[str, ...]
    internal: bool = False
    masquerades: bool = True


def rules(networks: Iterable[Network]) -> str:
    """For `nft -f`, as often as one likes; without networks, the lines that docs/networking.md shows."""
    found = sorted(networks)
    bridges = [*USUAL_BRIDGES, *(n.bridge for n in found if not _usual(n.bridge))]
    outside = " ".join(f'oifname != "{bridge}"' for bridge in bridges)
    into = "".join(f'    oifname "{bridge}" goto into_containers\n' for bridge in bridges)
    shut = "".join(
        f'    iifname "{n.bridge}" oifname != "{n.bridge}" drop   # {n.name} is internal\n'
        for n in found
        if n.internal
    )
    nets = [ip_network(subnet) for n in found for subnet in n.subnets]
    four = _set(USUAL4, [net for net in nets if isinstance(net, IPv4Network) and not _within(net)])
    six = _set(USUAL6, [net for net in nets if isinstance(net, IPv6Network) and str(net) != USUAL6])
    four_comment = "Docker's first 15 networks; add yours, or set default-address-pools"
    return f"""\
define containers4 = {four}   # {four_comment}
define containers6 = {six}   # your fixed-cidr-v6, if containers have IPv6

table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr $containers4 {outside} masquerade
    ip6 saddr $containers6 {outside} masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
{shut}{into}  }}
  chain into_containers {{
    ct state established,related accept
    fib daddr . iif oif exists accept   # within one network, where bridge-nf-call-iptables is on
    drop
  }}
}}
"""


def _usual(bridge: str) -> bool:
    return bridge == "docker0" or bridge.startswith("br-")


def _within(net: IPv4Network) -> bool:
    return net.subnet_of(IPv4Network(USUAL4))


def _set(usual: str, others: list[IPv4Network] | list[IPv6Network]) -> str:
    return f"{{ {', '.join([usual, *map(str, others)])} }}" if others else usual
