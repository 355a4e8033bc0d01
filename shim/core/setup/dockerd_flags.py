"""What dockerd's command line says, in Docker's grammar: ``--name=value``, ``--name value``, ``--name``."""

from collections.abc import Sequence

# Flags that stand alone for "true": what follows one is not its value.
BOOLEAN = {
    *("userland-proxy", "iptables", "ip6tables", "live-restore", "ip-masq", "ip-forward", "icc", "debug"),
    "D",
}


def dockerd_flags(words: Sequence[str]) -> dict[str, str]:
    """The flags by name, without dashes; ``words`` begin with the program's own.

    >>> dockerd_flags(["dockerd", "-H", "fd://", "--live-restore", "--config-file=/x"])
    {'H': 'fd://', 'live-restore': 'true', 'config-file': '/x'}
    """
    found: dict[str, str] = {}
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = "true" if name in BOOLEAN or not rest or rest[0].startswith("-") else rest.pop(0)
        found[name] = value
    return found
