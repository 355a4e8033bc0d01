"""``envoy-docker-shim man``: the manual page, made from the same descriptions as each command's help."""

from argparse import ArgumentParser

from shim import __version__
from shim.commands.definitions import Argument, Definition, definitions
from shim.config.load import DEFAULT_FILE
from shim.config.usage import PROGRAM, command_parser

ABOUT = (
    "Docker starts one process for every published port.  With this program set as"
    " userland-proxy-path in /etc/docker/daemon.json that process only keeps the port reserved, and Envoy"
    " serves it: with metrics and traces under the name of the service behind it.",
    "The first argument is one of the commands below.  Called with flags first, as dockerd does, it is such a"
    " process.",
)
EXIT_STATUS = (
    ("0", "All is well."),
    ("1", "Something needs a look, or the command cannot run; a line says what."),
    ("2", "Wrong usage or configuration."),
)
FILES = (
    (DEFAULT_FILE, "The configuration, if there is one."),
    ("/run/envoy-docker-shim", "The sockets of the registrar."),
    ("/var/cache/envoy-docker-shim", "Libraries that the file unpacked."),
    ("/var/lib/envoy-docker-shim", "Envoy, if the file brought one."),
)


def arguments() -> ArgumentParser:
    """Its parser."""
    return command_parser(
        "man",
        "Print the manual page.",
        "man | man -l -",
        "man >/usr/local/share/man/man8/envoy-docker-shim.8",
    )


def main(args: list[str]) -> int:
    """Print it.  0, or 2 for bad usage."""
    arguments().parse_args(args)
    print(page(definitions()), end="")
    return 0


def page(commands: list[Definition]) -> str:
    """The manual page of section 8, as man(7) says."""
    lines = [
        f'.TH ENVOY\\-DOCKER\\-SHIM 8 "" "{PROGRAM} {__version__}"',
        ".SH NAME",
        f"{_text(PROGRAM)} \\- published Docker ports, served by Envoy",
        ".SH SYNOPSIS",
    ]
    for command in commands:
        lines += [f".B {_text(f'{PROGRAM} {command.name}')}", _text(command.usage) or "\\&", ".br"]
    lines[-1:] = [".SH DESCRIPTION", _text(ABOUT[0]), ".PP", _text(ABOUT[1]), ".SH COMMANDS"]
    for command in commands:
        lines += [f".SS {_text(command.name)}", _text(command.description)]
        for argument in command.arguments:
            lines += [".TP", _tag(argument), _text(argument.help) or "\\&"]
    for title, rows in (("EXIT STATUS", EXIT_STATUS), ("FILES", FILES)):
        lines.append(f".SH {title}")
        for tag, text in rows:
            lines += [".TP", f".B {_text(tag)}", _text(text)]
    lines += [".SH EXAMPLES", ".nf"]
    lines += [_text(example) for command in commands for example in command.examples]
    return "\n".join([*lines, ".fi", ".SH SEE ALSO", ".BR dockerd (8)"]) + "\n"


def _tag(argument: Argument) -> str:
    value = "|".join(argument.choices) or argument.value
    if not argument.flags:
        return f".I {_text(value)}"
    names = ", ".join(argument.flags)
    return f'.BI "{_text(names)} " {_text(value)}' if value else f".B {_text(names)}"


def _text(text: str) -> str:
    """Text as roff takes it literally: its own signs escaped, and no control character at a line's start."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
