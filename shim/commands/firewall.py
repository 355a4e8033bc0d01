"""``envoy-docker-shim firewall``: show the rules the registrar keeps in the kernel, or take them away."""

from argparse import ArgumentParser

import trio

from shim.commands.common import complain, configuration, parser
from shim.registrar.firewall.by_hand import clear, show
from shim.registrar.firewall.programs import ProgramError, Programs


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "firewall",
        "Show the registrar's firewall rules, or take them away.",
        "firewall show",
        "firewall clear",
    )
    made.add_argument("what", choices=("show", "clear"), help="a registrar that runs puts them back")
    return made


def main(args: list[str]) -> int:
    """Show or clear.  0, 1 when `nft` fails, 2 for bad usage."""
    options = arguments().parse_args(args)
    keeping = configuration(options.config).keeping
    try:
        if options.what == "clear":
            trio.run(clear, Programs(), keeping)
        else:
            print(trio.run(show, Programs(), keeping) or "there are no rules of envoy-docker-shim", end="")
    except ProgramError as error:
        complain(str(error))
        return 1
    return 0
