"""How each command's line is described, so that its help, the manual page and completions say the same.

Every module in shim.commands.roles has ``arguments()``, which makes its parser by these.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from shim.config.load import DEFAULT_FILE

PROGRAM = "envoy-docker-shim"


def command_parser(name: str, description: str, *examples: str) -> ArgumentParser:
    """The argument parser of a command; ``examples`` are lines of shell, without the program's name."""
    lines = [f"  {PROGRAM} {example}" for example in examples]
    return ArgumentParser(
        f"{PROGRAM} {name}",
        description=description,
        epilog="\n".join(["examples:", *lines]) if lines else None,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_config(parser: ArgumentParser) -> None:
    """Add `--config`, for a command that reads the configuration."""
    parser.add_argument("--config", metavar="FILE", help=f"default: {DEFAULT_FILE}, if there is one")
