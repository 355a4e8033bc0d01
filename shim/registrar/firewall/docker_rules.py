"""Whether Docker has firewall rules of its own on this host, which lead network clients to containers."""

from pathlib import Path

from shim.core.firewall.names import Family
from shim.registrar.firewall.programs import ProgramError, Programs

# Of its iptables backend, and of the nftables backend that Engine 29 has.
PLACES = (("chain", "nat", "DOCKER"), ("table", "docker-bridges"))
# Name the tables of iptables' older backend that are in use (netfilter's ip_tables and ip6_tables).
# Not /proc/net, which a unit with ProcSubset=pid does not see.
LEGACY_TABLES = Path("/proc/self/net")


async def docker_rules(
    family: Family, programs: Programs | None = None, legacy: Path = LEGACY_TABLES
) -> bool | None:
    """Whether it has; None: that cannot be found out, without `nft` or without the right to ask."""
    try:
        if "nat" in (legacy / f"{family.ip}_tables_names").read_text().split():
            return True
    except OSError:
        pass
    programs = programs or Programs()
    for kind, *names in PLACES:
        try:
            await programs.nft("list", kind, family.ip, *names)
        except ProgramError as error:
            if "No such file or directory" not in str(error):
                return None
        else:
            return True
    return False
