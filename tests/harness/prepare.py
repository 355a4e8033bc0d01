"""`python -m tests.harness.prepare`: the trees of Debian's packages that tests make when they need one.

The whole run does this beside its first tests, as root: two workers that need a tree at the same time would
both make it, half a minute each.
"""

import os
import sys
from collections.abc import Callable
from functools import partial

from . import postgres, rootfs, services
from .debian import unpacked
from .engines import Missing

TREES: tuple[Callable[[], object], ...] = (
    rootfs.base,
    services.tree,
    postgres.tree,
    partial(unpacked, "nginx", "haproxy"),
    partial(unpacked, "prometheus"),
)


def main() -> None:
    """Make them all; one that cannot be made is told of, and its tests say so too."""
    for make in TREES:
        try:
            make()
        except Missing as problem:
            print(f"{problem}", file=sys.stderr)


if __name__ == "__main__" and os.geteuid() == 0:
    main()
