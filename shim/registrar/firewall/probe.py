"""Whether this host can have the table: one line that says why not, or nothing."""

from shim.core.firewall import script
from shim.registrar.firewall.programs import ProgramError, Programs

HINTS = {
    "Operation not permitted": "the registrar lacks CAP_NET_ADMIN",
    "Protocol not supported": "this kernel has no nf_tables",
}


async def why_not(programs: Programs, *, keep: bool = False) -> str:
    """Why this host cannot have the table, in a line; empty: it can.  Nothing is applied.

    ``keep``: with the rules for ClientAddress=keep, too.
    """
    if not programs.has("nft"):
        return "no nft program (Debian's package: nftables)"
    if keep and not programs.has("ip"):
        return "no ip program (Debian's package: iproute2)"
    try:
        await programs.nft("--check", "-f", "-", script=script.probe(keep=keep))
    except ProgramError as error:
        return next((hint for text, hint in HINTS.items() if text in str(error)), "") or _too_old(str(error))
    return ""


def _too_old(error: str) -> str:
    """The line for any other error: mostly, the kernel or nft does not know a word of the script."""
    return f"this kernel or nft cannot have it ({error.removeprefix('nft: ')})"
