"""One run of wrk: requests or connections a second, and what they cost the proxy."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from bench.compiled import HERE
from bench.plan import Cores
from bench.processes import children_cpu, cpu_seconds, on_core
from tests.harness.netns import Place

LOW, HIGH = 1, 64  # connections: for latency, for throughput

Sample = dict[str, float]


class Way(NamedTuple):
    """Who asks what, and whose CPU that costs: the proxy's, and the container's."""

    source: Place
    address: tuple[str, int]
    carriers: Sequence[int]
    backend: int


def figures(connections: int) -> list[tuple[str, str]]:
    """What of a sample is told, and in which unit."""
    if connections == LOW:
        return [("p50", "µs"), ("p99", "µs")]
    return [("requests/s", "/s"), ("CPU per request", "µs"), ("load's core, busy", "%")]


def wrk(way: Way, connections: int, where: Cores, *, each_its_own: bool = False) -> Sample:
    """A second of requests; ``each_its_own``: on a connection of its own each, so these are connections/s.

    "CPU in all" is what proxy, container and client took for one, in µs: a busy machine alters it less.

    Raises AssertionError: some failed.
    """
    host, port = way.address
    argv = ["wrk", "-t1", f"-c{connections}", "-d1s", "-s", str(HERE / "wrk.lua"), f"http://{host}:{port}/"]
    if each_its_own:
        argv[1:1] = ["-H", "Connection: close"]
    before, load_before = cpu_seconds(*way.carriers), cpu_seconds(way.backend) + children_cpu()
    text = way.source.run(*on_core(where.load, argv))
    cpu = cpu_seconds(*way.carriers) - before
    load = cpu_seconds(way.backend) + children_cpu() - load_before
    sample: Sample = json.loads(text.partition("JSON ")[2])
    assert sample["requests"] and not sample["errors"], text
    seconds = sample["micros"] / 1e6
    sample["requests/s"] = sample["requests"] / seconds
    sample["CPU per request"] = cpu * 1e6 / sample["requests"]
    sample["load's core, busy"] = load / seconds * 100
    sample["CPU in all"] = (cpu + load) * 1e6 / sample["requests"]
    return sample
