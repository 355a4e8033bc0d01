"""The rules shown and taken away by an operator, with or without a registrar."""

from shim.core.firewall.names import FAMILIES, FAMILY, TABLE
from shim.core.firewall.script import CLEAR
from shim.core.firewall.table import USUAL, Keeping
from shim.registrar.firewall.programs import ProgramError, Programs
from shim.registrar.firewall.way_back import WayBack


async def show(programs: Programs, keeping: Keeping = USUAL) -> str:
    """The table as nft prints it, and the routing rules that belong to it; empty where there is nothing.

    Raises ProgramError.
    """
    tables = await programs.nft("list", "tables")
    there = f"table {FAMILY} {TABLE}" in tables.splitlines()
    text = await programs.nft("list", "table", FAMILY, TABLE) if there else ""
    for family in FAMILIES:
        try:
            rules = await programs.ip(
                (f"-{family.version}", "rule", "show", "priority", str(keeping.rule_priority))
            )
        except ProgramError:
            continue  # no `ip`, or no such IP version here
        text += "".join(f"# ip -{family.version} rule: {rule}\n" for rule in rules.splitlines())
    return text


async def clear(programs: Programs, keeping: Keeping = USUAL) -> None:
    """Take the table, the routing rules and the routes away.  Raises ProgramError.

    A registrar that runs puts the table back.
    """
    await programs.nft("-f", "-", script=CLEAR)
    await WayBack(programs, keeping).remove()
