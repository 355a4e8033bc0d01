"""Chooses a role by the first argument, and only then imports it.

dockerd's own call (flags first) does not come here in the shipped file: its prologue takes the
short way to ``shim.proxy.start``.
"""

import sys
from importlib import import_module

from shim import __version__

USAGE = """\
usage: envoy-docker-shim COMMAND [--help]

  server      the registrar: keeps the bindings and serves them to Envoy (xDS)
  up          the registrar and an Envoy as one supervised pair
  bootstrap   print the Envoy configuration to go with it
  status      show bindings, Envoys, Docker, and shims that the registrar does not know
  doctor      say what is wrong on this host, and what cures it
  firewall    show the registrar's firewall rules, or take them away
  resync      tell the registrar of every shim that runs on this host
  version     print the version

dockerd calls it with docker-proxy's flags (-proto, -host-ip, ...): set it as userland-proxy-path.
"""

ROLES = {
    "server": "shim.registrar.main",
    "up": "shim.commands.up",
    "bootstrap": "shim.commands.bootstrap",
    "status": "shim.commands.status",
    "doctor": "shim.commands.doctor",
    "firewall": "shim.commands.firewall",
    "resync": "shim.commands.resync",
    "relay": "shim.relay.main",
}


def main() -> int:
    """Be what the first argument says: the process's exit status, 2 where it is no command."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in ("version", "--version", "-version", "-v", "--v"):
        print(f"envoy-docker-shim {__version__}")
        return 0
    if word in ("-h", "-help", "--help", "help"):
        print(USAGE, end="")
        return 0
    if word.startswith("-"):
        from shim.proxy import start

        start.main(sys.argv[0], sys.argv[1:])
    if word not in ROLES:
        if word:
            print(f"envoy-docker-shim: unknown command {word!r}", file=sys.stderr)
        print(USAGE, end="", file=sys.stderr)
        return 2
    role: int = import_module(ROLES[word]).main(sys.argv[2:])
    return role


if __name__ == "__main__":
    sys.exit(main())
