"""TCP shims: what one costs at rest, and how long dockerd waits for it."""

import shutil
import time
from collections.abc import Iterator

from bench.plan import PATH, Plan
from bench.processes import Memory, memory, settle
from bench.rows import Row, at_most
from bench.shims import BOTH, FIRST_PORT, OURS, PEER, Starter, starter
from tests.harness.proxy import Proxy, bound_socket, start_proxy
from tests.harness.wait import eventually

BACKEND = ("127.0.0.1", 9)


def rest(plan: Plan) -> Iterator[Row]:
    yield from at_rest(plan, "tcp", 0.15, "parked: waits for nothing but the registrar")


def start(plan: Plan) -> Iterator[Row]:
    """UDP too, but only where Python is not in the way: there both take the same."""
    for engine in plan.engines:
        given = engine == "28"
        for proto in ("tcp", "udp") if given else ("tcp",):
            with starter(plan, engine) as (host, shims):
                took = host.call(_spawn_times, shims, proto, plan.times(101, 31))
            yield Row(
                "tcp-start",
                f"engine {engine}, {proto.upper()}: spawn to ready",
                "ms",
                ours=took[OURS],
                peer=took[PEER],
                target=at_most(0.4) if given else None,
                note="from dockerd's spawn to `0\\n` on descriptor 3, "
                + ("the socket on descriptor 4" if given else "the shim binds the port itself"),
            )
    yield Row(
        "tcp-start",
        "of ours, Python alone",
        "ms",
        ours=_python_alone(plan.times(51, 21)),
        note="`python3 -IS` that writes `0\\n` and nothing else: what no program in Python can go below",
    )


def _spawn_times(shims: Starter, proto: str, times: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {kind: [] for kind in BOTH}
    for turn in range(-2, times):  # the first ones load files into memory
        for kind in BOTH:
            # Ended a moment after its start, it leaves the port to the registrar for a moment more.
            eventually(lambda: _is_free(proto), interval=0.001)
            began = time.perf_counter()
            proxy = shims.start(kind, proto, FIRST_PORT, BACKEND)
            milliseconds = (time.perf_counter() - began) * 1000
            proxy.stop()
            if turn >= 0:
                took[kind].append(milliseconds)
    return took


def _is_free(proto: str) -> bool:
    bound_socket(proto, ("127.0.0.1", FIRST_PORT)).close()
    return True


def _python_alone(times: int) -> list[float]:
    python = shutil.which("python3", path=PATH)
    assert python is not None, f"no python3 in {PATH}"
    took = []
    for _ in range(times):
        began = time.perf_counter()
        proxy = start_proxy(
            python, ["-IS", "-c", "import posix; posix.write(3, b'0\\n')"], env={"PATH": PATH}
        )
        took.append((time.perf_counter() - began) * 1000)
        proxy.wait()
    return took


def at_rest(plan: Plan, proto: str, ratio: float, note: str) -> Iterator[Row]:
    """Many of each kind at once, as on a machine with many ports: pages they share are not private."""
    with starter(plan) as (host, shims):
        each = plan.times(25, 10)
        held: dict[str, list[Proxy]] = {kind: [] for kind in BOTH}
        try:
            for turn in range(each):
                for kind in BOTH:
                    port = FIRST_PORT + 2 * turn + BOTH.index(kind)
                    held[kind].append(host.call(shims.start, kind, proto, port, BACKEND))
            settle(lambda: [proxy.pid for proxies in held.values() for proxy in proxies])
            seen: dict[str, list[Memory]] = {
                kind: [memory(proxy.pid) for proxy in proxies] for kind, proxies in held.items()
            }
        finally:
            for proxies in held.values():
                for proxy in proxies:
                    proxy.stop()
    for at, what in enumerate(("private memory", "PSS", "RSS")):
        yield Row(
            f"{proto}-rest",
            f"{proto.upper()} shim at rest: {what}",
            "kB",
            ours=[look[at] for look in seen[OURS]],
            peer=[look[at] for look in seen[PEER]],
            target=at_most(ratio) if at == 0 else None,
            note=(note, "pages shared with other processes counted by share", "shared pages counted whole")[
                at
            ],
        )
