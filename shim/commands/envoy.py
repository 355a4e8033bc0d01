"""``envoy-docker-shim envoy``: the Envoy that was bundled with the file (``./build.sh --with-envoy``)."""

import os
from argparse import ArgumentParser

from shim.commands.common import complain
from shim.config.usage import command_parser
from shim.host.bundled_envoy import BundleError, bundled_envoy


def arguments() -> ArgumentParser:
    """Its parser; what comes behind ``--`` is Envoy's, and does not come here."""
    made = command_parser(
        "envoy",
        "Unpack the Envoy that came with this file, if need be, and print where it is.  "
        "With -- and Envoy's own arguments: run it.",
        "envoy",
        "envoy -- --version",
    )
    made.usage = "envoy-docker-shim envoy [-h] [-- ARGUMENT ...]"
    return made


def main(args: list[str]) -> int:
    """Print where it is, or become it.  0, 1 where none is or it cannot be unpacked, 2 for bad usage."""
    own, separator, envoys = args, "", []
    if "--" in args:
        at = args.index("--")
        own, separator, envoys = args[:at], "--", args[at + 1 :]
    arguments().parse_args(own)
    try:
        program = bundled_envoy()
    except BundleError as error:
        complain(str(error))
        return 1
    if program is None:
        complain("this file brings no Envoy: build it with `./build.sh --with-envoy`, or use one of your own")
        return 1
    if separator:
        try:
            os.execv(program, [str(program), *envoys])
        except OSError as error:
            complain(f"{program} does not start: {error.strerror}")
            return 1
    print(program)
    return 0
