"""Chooses a role by the first argument, and only then imports it.

dockerd's own call (flags first) does not come here in the shipped file: its prologue takes the
short way to ``shim.proxy.start``.
"""

import sys
from importlib import import_module

from shim import __version__
from shim.commands.roles import ROLES, usage


def main() -> int:
    """Be what the first argument says: the process's exit status, 2 where it is no command."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in ("--version", "-version", "-v", "--v") or sys.argv[1:] == ["version"]:
        print(f"envoy-docker-shim {__version__}")
        return 0
    if word in ("-h", "-help", "--help", "help"):
        print(usage(), end="")
        return 0
    if word.startswith("-"):
        from shim.proxy import start

        start.main(sys.argv[0], sys.argv[1:])
    if word not in ROLES:
        if word:
            print(f"envoy-docker-shim: unknown command {word!r}", file=sys.stderr)
        print(usage(), end="", file=sys.stderr)
        return 2
    role: int = import_module(ROLES[word].module).main(sys.argv[2:])
    return role


if __name__ == "__main__":
    sys.exit(main())
