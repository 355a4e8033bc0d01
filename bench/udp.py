"""UDP shims: what one costs before its first datagram, and how it relays."""

import contextlib
import functools
import json
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.compiled import compiled
from bench.plan import Cores, Plan, cores
from bench.processes import cpu_seconds, on_core, pinned, settle
from bench.rows import Row, at_least, at_most
from bench.shims import BOTH, FIRST_PORT, OURS, PEER, Starter, starter
from bench.tcp import at_rest
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.harness.wait import eventually

ECHO = ("127.0.0.1", 19000)
CEILING = "ceiling"
PORTS = {PEER: FIRST_PORT, OURS: FIRST_PORT + 1, CEILING: ECHO[1]}


class Case(NamedTuple):
    clients: int
    in_flight: int
    size: int
    ratio: float | None  # of round trips a second

    def __str__(self) -> str:
        who = "1 client" if self.clients == 1 else f"{self.clients:,} clients"
        return f"{who}, {self.in_flight} in flight{' each' * (self.clients > 1)}, {self.size:,} bytes"


CASES = [
    Case(clients, in_flight, size, ratio)
    for clients, in_flight, ratio in ((1, 1, None), (1, 32, 1.3), (1, 128, 1.3), (64, 2, 1.0), (1000, 1, 1.0))
    for size in (64, 1200)
]

Sample = dict[str, float]


def rest(plan: Plan) -> Iterator[Row]:
    yield from at_rest(plan, "udp", 0.5, "after its start, no datagram yet")


def relay(plan: Plan) -> Iterator[Row]:
    where = cores()
    with starter(plan) as (host, shims), _echo(host, where) as echo:
        for case in CASES:
            yield from _rows(case, _measure(plan, case, host, shims, where, echo), where)


def _rows(case: Case, seen: dict[str, list[Sample]], where: Cores) -> Iterator[Row]:
    def row(what: str, unit: str, field: str, ratio: Any = None, note: str = "") -> Row:
        ours, peer = ([sample[field] for sample in seen[kind]] for kind in (OURS, PEER))
        return Row("udp-relay", f"{case}: {what}", unit, ours, peer, ratio, note)

    if case.in_flight == case.clients == 1:
        yield row("p50 round trip", "µs", "p50", at_most(1.3), "generator to echo server and back")
        yield row("p99 round trip", "µs", "p99", at_most(1.3), "99 of 100 are faster")
    else:
        ratio = None if case.ratio is None else at_least(case.ratio)
        yield row("round trips/s", "/s", "rate", ratio, _pinning(where))
    yield row(
        "CPU per round trip", "µs", "cpu_each", at_most(0.8), "of the proxy's process, one datagram each way"
    )
    yield row(
        "load's core, busy",
        "%",
        "load_busy",
        None,
        "generator and echo server; near 100 they set the rate, and CPU per round trip tells more",
    )
    if any(sample["lost"] for sample in (*seen[OURS], *seen[PEER])):
        yield row("lost", "/s", "lost_rate", None, "datagrams without an answer in 0.2 s, then sent anew")
    yield Row(
        "udp-relay",
        f"{case}: ceiling",
        "/s",
        [sample["rate"] for sample in seen[CEILING]],
        note="the same generator straight to the echo server, no proxy between",
    )


def _pinning(where: Cores) -> str:
    return (
        "generator and echo server on one core, the proxy on the other"
        if where.apart
        else "all on this machine's only core"
    )


class Load:
    """A generator with its sockets, through one proxy or (no proxy) straight to the echo server."""

    def __init__(self, process: "subprocess.Popen[bytes]", echo: int, proxy: int | None) -> None:
        self._process = process
        self._echo = echo
        self._proxy = () if proxy is None else (proxy,)

    def turn(self, seconds: float, warmup: float) -> Sample:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        before, echo_before = cpu_seconds(*self._proxy), cpu_seconds(self._echo)
        process.stdin.write(b"%f %f\n" % (seconds, warmup))
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the load generator ended with {process.wait(10)}"
        cpu, echo_cpu = cpu_seconds(*self._proxy) - before, cpu_seconds(self._echo) - echo_before
        sample: Sample = json.loads(line)
        assert sample["answers"], "no datagram came back"
        sample["cpu_each"] = cpu * 1e6 / sample["answers"]
        sample["load_busy"] = (sample["cpu"] + echo_cpu) / sample["seconds"] * 100
        sample["lost_rate"] = sample["lost"] / sample["seconds"]
        return sample


def _measure(
    plan: Plan, case: Case, host: Host, shims: Starter, where: Cores, echo: int
) -> dict[str, list[Sample]]:
    """Both proxies and their generators live through all turns: the clients stay the same."""
    kinds = (*BOTH, CEILING)
    seen: dict[str, list[Sample]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        loads: dict[str, Load] = {}
        for kind in kinds:
            proxy = None
            if kind in BOTH:
                proxy = stack.enter_context(host.call(_start_pinned, shims, kind, where.proxy))
                ask = functools.partial(host.udp_ask, "127.0.0.1", PORTS[kind], b"awake?")
                eventually(ask, 10, f"{kind} relays")
                settle(lambda pid=proxy.pid: [pid], quiet=0.5)  # type: ignore[misc]
            argv = [compiled("udpload"), "load", PORTS[kind], case.clients, case.in_flight, case.size]
            process = stack.enter_context(_running(host, where.load, *map(str, argv)))
            loads[kind] = Load(process, echo, None if proxy is None else proxy.pid)
        for turn in range(plan.times(21, 3)):
            for kind in kinds if turn < 5 else BOTH:
                seen[kind].append(loads[kind].turn(plan.seconds(0.4, 0.3), 0.1))
    return seen


def _start_pinned(shims: Starter, kind: str, core: int) -> Proxy:
    with pinned(core):
        return shims.start(kind, "udp", PORTS[kind], ECHO)


@contextlib.contextmanager
def _running(host: Host, core: int, *argv: str) -> "Iterator[subprocess.Popen[bytes]]":
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = host.popen(on_core(core, argv), **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _echo(host: Host, where: Cores) -> Iterator[int]:
    """The echo server's pid, once it answers."""
    with _running(host, where.load, str(compiled("udpload")), "echo", str(ECHO[1])) as process:
        eventually(lambda: host.udp_ask(*ECHO, b"there?"), 10, "the echo server answers")
        yield process.pid
