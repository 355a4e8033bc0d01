"""What the first argument may be: a row for each role, in the order in which the help shows them."""

from typing import NamedTuple


class Role(NamedTuple):
    """``module`` has ``main(args)``, which returns the exit status, and ``arguments()``, its parser.

    Without a ``summary`` nobody calls it by hand, and it has no ``arguments()``.
    """

    module: str
    summary: str


ROLES = {
    "install": Role(
        "shim.commands.install", "install this file, Envoy and their units, and tell Docker; also the upgrade"
    ),
    "uninstall": Role("shim.commands.uninstall", "take all of it away again"),
    "server": Role("shim.registrar.main", "the registrar: keeps the bindings and serves them to Envoy (xDS)"),
    "up": Role("shim.commands.up", "the registrar and an Envoy as one supervised pair"),
    "bootstrap": Role("shim.commands.bootstrap", "print the Envoy configuration to go with it"),
    "envoy": Role("shim.commands.envoy", "the Envoy that came with this file: where it is, or run it"),
    "status": Role(
        "shim.commands.status", "show bindings, Envoys, Docker, and shims that the registrar does not know"
    ),
    "top": Role("shim.commands.top", "show what passes each service: requests, latency, connections, bytes"),
    "page": Role(
        "shim.commands.page", "show services in a browser: opens the registrar's page on a local port"
    ),
    "doctor": Role("shim.commands.doctor", "say what is wrong on this host, and what cures it"),
    "logs": Role("shim.commands.logs", "show the access log"),
    "traces": Role("shim.commands.traces", "show the traces that the registrar keeps"),
    "firewall": Role("shim.commands.firewall", "show the registrar's firewall rules, or take them away"),
    "resync": Role("shim.commands.resync", "tell the registrar of every shim that runs on this host"),
    "completion": Role("shim.commands.completion", "print what makes bash or zsh complete these words"),
    "man": Role("shim.commands.man", "print the manual page"),
    "version": Role("shim.commands.version", "print the version"),
    "relay": Role("shim.relay.main", ""),
}


def usage() -> str:
    """The help that needs no command."""
    width = max(map(len, ROLES)) + 2
    rows = [f"  {name.ljust(width)}{role.summary}\n" for name, role in ROLES.items() if role.summary]
    return f"""\
usage: envoy-docker-shim COMMAND [--help]

{"".join(rows)}
dockerd calls it with docker-proxy's flags (-proto, -host-ip, ...): set it as userland-proxy-path.
"""
