"""The parts of the measurement, in the order in which they run; a part is imported when its turn comes."""

import importlib
from collections.abc import Iterable
from typing import NamedTuple

from bench.plan import Plan
from bench.rows import Row


class Part(NamedTuple):
    name: str
    module: str
    function: str
    title: str

    def measure(self, plan: Plan) -> Iterable[Row]:
        function = getattr(importlib.import_module(self.module), self.function)
        # The registrar has no peer and no engine: it needs to know only how long it may take.
        rows: Iterable[Row] = function(plan.quick if self.name == "registrar" else plan)
        return rows


PARTS = {
    part.name: part
    for part in (
        Part("tcp-rest", "bench.tcp", "rest", "TCP shims at rest"),
        Part("tcp-start", "bench.tcp", "start", "Shims: spawn to ready"),
        Part("udp-rest", "bench.udp", "rest", "UDP shims without traffic"),
        Part("udp-relay", "bench.udp", "relay", "UDP relay"),
        Part("one-port", "bench.ports", "single", "1 published TCP port"),
        Part("ports-100", "bench.ports", "hundred", "100 published TCP ports"),
        Part("udp-500", "bench.ports", "udp500", "500 published UDP ports"),
        Part("growth", "bench.ports", "growth", "1 to 1,000 published TCP ports"),
        Part("traffic", "bench.traffic", "traffic", "HTTP and TCP through Envoy"),
        Part("listener", "bench.listener", "listener", "An http listener by itself"),
        Part("network", "bench.network", "network", "From another machine, with the firewall's table"),
        Part("first", "bench.first", "first", "Start event to first answer"),
        Part("push", "bench.push", "push", "The firewall's table: from Envoy's word to the kernel"),
        Part("registrar", "bench.registrar", "measure", "Registrar"),
    )
}


def chosen(words: Iterable[str]) -> list[Part]:
    """The parts whose names have any of these words in them ("udp": three parts); none: all.

    Raises LookupError.
    """
    wanted: set[str] = set()
    for word in words:
        found = {name for name in PARTS if word in name}
        if not found:
            raise LookupError(f"no part {word!r}; there are: {', '.join(PARTS)}")
        wanted |= found
    return [part for name, part in PARTS.items() if name in wanted or not wanted]
