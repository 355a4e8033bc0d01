"""``envoy-docker-shim completion``: the script with which bash or zsh completes our command lines."""

from argparse import ArgumentParser

from shim.commands.definitions import PATHS, Argument, Definition, definitions
from shim.config.usage import command_parser

BASH = """\
# bash completion for envoy-docker-shim; print it anew after an upgrade
_envoy_docker_shim() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  COMPREPLY=()
  case ${COMP_WORDS[1]}\\ ${COMP_WORDS[COMP_CWORD-1]} in
%(values)s
  esac
  if [ "$COMP_CWORD" = 1 ]; then
    words='%(commands)s'
  else
    case ${COMP_WORDS[1]} in
%(cases)s
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _envoy_docker_shim envoy-docker-shim
"""
BASH_FILES = 'mapfile -t COMPREPLY < <(compgen -f -- "$word"); compopt -o filenames; return'

ZSH = """\
#compdef envoy-docker-shim
# zsh completion for envoy-docker-shim; print it anew after an upgrade
_envoy_docker_shim() {
  local -a commands
  commands=(
%(commands)s
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
%(cases)s
  esac
}
if [ "$funcstack[1]" = _envoy-docker-shim ] || [ "$funcstack[1]" = _envoy_docker_shim ]; then
  _envoy_docker_shim "$@"
else
  compdef _envoy_docker_shim envoy-docker-shim
fi
"""


def arguments() -> ArgumentParser:
    """Its parser."""
    made = command_parser(
        "completion",
        "Print what makes a shell complete the names of commands and options.",
        "completion bash >/etc/bash_completion.d/envoy-docker-shim",
        "completion zsh >/usr/local/share/zsh/site-functions/_envoy-docker-shim",
    )
    made.add_argument("shell", choices=("bash", "zsh"), help="for which shell")
    return made


def main(args: list[str]) -> int:
    """Print it.  0, or 2 for bad usage."""
    make = bash if arguments().parse_args(args).shell == "bash" else zsh
    print(make(definitions()), end="")
    return 0


def bash(commands: list[Definition]) -> str:
    """The script for bash."""
    values, cases = [], []
    for command in commands:
        words: list[str] = []
        for argument in command.arguments:
            words += argument.flags or argument.choices
            if argument.flags and argument.value:
                at = " | ".join(f"{command.name}\\ {flag}" for flag in argument.flags)
                values.append(f"  {at}) {_bash_value(argument)} ;;")
        cases.append(f"    {command.name}) words='{' '.join(words)}' ;;")
    names = " ".join(command.name for command in commands)
    return BASH % {"values": "\n".join(values), "cases": "\n".join(cases), "commands": names}


def _bash_value(argument: Argument) -> str:
    if argument.value in PATHS:
        return BASH_FILES
    choices = " ".join(argument.choices)
    return f"mapfile -t COMPREPLY < <(compgen -W '{choices}' -- \"$word\"); return" if choices else "return"


def zsh(commands: list[Definition]) -> str:
    """The script for zsh."""
    named = [f"    {_quoted(f'{command.name}:{command.summary}')}" for command in commands]
    cases = []
    for command in commands:
        specs = [spec for argument in command.arguments for spec in _zsh_specs(argument)]
        cases.append(f"  {command.name}) _arguments {' '.join(map(_quoted, specs))} ;;")
    return ZSH % {"commands": "\n".join(named), "cases": "\n".join(cases)}


def _zsh_specs(argument: Argument) -> list[str]:
    what = f"({' '.join(argument.choices)})" if argument.choices else ""
    if argument.value in PATHS:
        what = "_files"
    text = argument.help
    for special in "\\[]:":
        text = text.replace(special, f"\\{special}")
    if not argument.flags:
        return [f":{text or argument.value}:{what}"]
    value = f":{argument.value}:{what}" if argument.value else ""
    return [f"{flag}[{text}]{value}" for flag in argument.flags]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
