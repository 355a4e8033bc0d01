"""From Docker's start event to the first 200 on the published port."""

from collections.abc import Iterator

from bench.machines import machines
from bench.plan import Plan
from bench.rows import Row
from bench.shims import BOTH, OURS, PEER
from tests.harness.moments import FirstAnswer, StartEvent

PORT = 8080


def first(plan: Plan) -> Iterator[Row]:
    for engine in plan.engines:
        seen: dict[str, list[float]] = {kind: [] for kind in BOTH}
        with machines(plan, engine) as both:
            for _ in range(plan.times(21, 5)):
                for kind in BOTH:
                    dockerd = both[kind].dockerd
                    started, answered = StartEvent(dockerd), FirstAnswer(dockerd.host, PORT)
                    dockerd.run_http("hello", f"-p{PORT}:80", name="web")
                    seen[kind].append((answered.wait() - started.wait()) * 1000)
                    both[kind].remove("web")
        yield Row(
            "first",
            f"engine {engine}: start event to first 200",
            "ms",
            seen[OURS],
            seen[PEER],
            note="asked from before the start, by a client on the same machine; the web server's "
            "own start is in it. Below 0: it answered before the event",
        )
