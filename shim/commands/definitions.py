"""What every command takes, read from its own argument parser: for completions and the manual page."""

from argparse import SUPPRESS, Action, ArgumentParser
from importlib import import_module
from typing import NamedTuple

from shim.commands.roles import ROLES

PATHS = ("FILE", "PATH", "DIR")  # metavars of options whose value is completed as a file's name


class Argument(NamedTuple):
    """One option, or without ``flags`` one word.  ``value``: what follows it, as the help calls it."""

    flags: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str


class Definition(NamedTuple):
    """One command; ``usage`` is its line without the program's name, ``examples`` are lines of shell."""

    name: str
    summary: str
    description: str
    usage: str
    arguments: tuple[Argument, ...]
    examples: tuple[str, ...]


def definitions() -> list[Definition]:
    """Every command that people call, in the order of the help."""
    return [_definition(name) for name, role in ROLES.items() if role.summary]


def _definition(name: str) -> Definition:
    parser: ArgumentParser = import_module(ROLES[name].module).arguments()
    return Definition(
        name,
        ROLES[name].summary,
        " ".join((parser.description or "").split()),
        " ".join(parser.format_usage().split()[2:]),
        tuple(_argument(parser, action) for action in parser._actions if action.help != SUPPRESS),
        tuple(line.strip() for line in (parser.epilog or "").splitlines()[1:]),
    )


def _argument(parser: ArgumentParser, action: Action) -> Argument:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return Argument(
        tuple(action.option_strings),
        "" if action.nargs == 0 else metavar,
        tuple(map(str, action.choices or ())),
        # With the places of its text filled in, as in the help.
        parser._get_formatter()._expand_help(action) if action.help else "",
    )
