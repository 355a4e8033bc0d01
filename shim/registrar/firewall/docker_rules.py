"""Whether Docker has firewall rules of its own on this host, which lead network clients to containers."""

from pathlib import Path

from shim.registrar.firewall.programs import ProgramError, Programs

CHAIN = ("list", "chain", "ip", "nat", "DOCKER")
# Names the tables of iptables' older backend that are in use (netfilter's ip_tables).
LEGACY_TABLES = Path("/proc/net/ip_tables_names")


async def docker_rules(programs: Programs | None = None, legacy: Path = LEGACY_TABLES) -> bool | None:
    """Whether it has; None: that cannot be found out, without `nft` or without the right to ask."""
    try:
        if "nat" in legacy.read_text().split():
            return True
    except OSError:
        pass
    try:
        await (programs or Programs()).nft(*CHAIN)
    except ProgramError as error:
        return False if "No such file or directory" in str(error) else None
    return True
