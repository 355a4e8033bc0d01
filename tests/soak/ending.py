"""The soak's end: what must be equal is compared, and what must be gone is looked for."""

import time
from collections.abc import Callable
from typing import Any

from tests.harness.stack import Stack
from tests.soak.leaks import Usage, shims, usage, zombies
from tests.soak.views import differences, envoy_clusters, envoy_view, proxies_view

# What may still be under way is given so long (seconds).
SETTLE = 15.0
# The registrar's memory may be this much more (kB) after the last part of the soak than before: allocators
# keep what they had at the peak.
MEMORY_SLACK = 4096


class Ending:
    """``problems`` is empty where all was as it must be."""

    def __init__(self, stack: Stack) -> None:
        self.problems: list[str] = []
        self.bindings = 0
        self._stack = stack

    def compare(self) -> Usage:
        """All containers run: the views must be equal, and the registrar hold two pipes for each binding."""
        stack = self._stack
        self._none_left("views differ", lambda: differences(stack))
        self.bindings = len(stack.registrar.bindings())
        self._none_left("shims without a binding", lambda: _strays(stack))
        self._none_left("zombies", lambda: zombies({stack.registrar.pid, stack.dockerd.pid}))
        now = usage(stack.registrar.pid)
        if now.pipes != 2 * self.bindings:
            self.problems.append(f"the registrar holds {now.pipes} pipes for {self.bindings} bindings")
        return now

    def empty(self, base: Usage) -> Usage:
        """Remove every container: nothing may be left, and the registrar be as it was at first."""
        stack = self._stack
        stack.dockerd.docker("rm", "--force", *stack.dockerd.docker("ps", "--all", "--quiet").split())
        self._none_left("bindings are left", stack.registrar.bindings)
        self._none_left("Envoy has listeners left", lambda: sorted(envoy_view(stack)))
        self._none_left("Envoy has clusters left", lambda: sorted(envoy_clusters(stack)))
        self._none_left("dockerd has proxies left", lambda: sorted(proxies_view(stack)))
        self._none_left("shims are left", lambda: sorted(shims(stack.host)))
        self._none_left("zombies", lambda: zombies({stack.registrar.pid, stack.dockerd.pid}))
        self._none_left("the registrar's descriptors are left", lambda: _more_files(stack, base))
        return usage(stack.registrar.pid)

    def grown(self, before: Usage, after: Usage) -> None:
        if after.rss_kb - before.rss_kb > MEMORY_SLACK:
            self.problems.append(f"the registrar grew from {before.rss_kb} to {after.rss_kb} kB")

    def read_log(self) -> None:
        """What a registrar never says unless something is wrong with it."""
        text = self._stack.registrar.log.read_text(errors="replace")
        lines = [line for line in text.splitlines() if "Traceback" in line or " ERROR " in line]
        self.problems += [f"the registrar's log: {line}" for line in lines]

    def _none_left(self, what: str, look: Callable[[], list[Any]]) -> None:
        """``look`` until it finds nothing."""
        deadline = time.monotonic() + SETTLE
        while left := look():
            if time.monotonic() > deadline:
                self.problems += [f"{what}: {one}" for one in left]
                return
            time.sleep(0.1)


def _strays(stack: Stack) -> list[int]:
    return sorted(shims(stack.host) - {binding["pid"] for binding in stack.registrar.bindings()})


def _more_files(stack: Stack, base: Usage) -> list[str]:
    now = usage(stack.registrar.pid)
    return [] if (now.pipes, now.files) <= (base.pipes, base.files) else [f"{now} after {base}"]
