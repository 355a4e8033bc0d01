"""A port's container is restarted, or replaced, again and again, while clients ask without pause.

The next container has the port at once, every time; and no answer is a predecessor's.
"""

import json
import statistics
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.harness.attempts import CLOSED, CUT, REFUSED, RESET, Attempt, Attempts
from tests.harness.docker import IMAGE, Dockerd
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

RESTARTED, REPLACED = 8080, 8081  # the two ports
TIMES = 50
BACK_WITHIN = 1.0  # seconds from Docker's `start` event to the first 200: what is promised
PAUSE = 0.002  # after a refusal: clients that spin would only take the processors from Docker
# While a container stops and the next one starts a request may fail, but only like this.
MEANWHILE = {"200", "503", REFUSED, RESET, CLOSED, CUT}


class Generation(NamedTuple):
    """One of the containers that follow each other; it answers with its number."""

    asked: float  # when Docker was told to put it in its predecessor's place
    started: float  # Docker's event
    served: float  # when every client had had an answer from it


def test_the_next_container_has_the_port_at_once(artifact: Path, engine: Engine) -> None:
    """... fifty times, on one port by restarts and at the same time on another as compose recreates."""
    with Stack(artifact, engine) as stack, ThreadPoolExecutor() as pool:
        loops = {
            "restarts": pool.submit(run, stack, RESTARTED, partial(restart, stack.dockerd)),
            "replacements": pool.submit(run, stack, REPLACED, partial(replace, stack.dockerd)),
        }
        for what, loop in loops.items():
            print(f"engine {engine.name}, {TIMES} {what}: {check(*loop.result())}")
        assert stack.binding(RESTARTED)["cluster"] == f"web-{RESTARTED}"
        assert stack.binding(REPLACED)["cluster"] == f"web-shop-{REPLACED}"


# -- how the next container comes ----------------------------------------------------------------------


def restart(dockerd: Dockerd, number: int) -> None:
    """`docker restart`; the container counts its starts."""
    if number == 1:
        serve = "echo x >>/n; wc -l </n >/www/index.html; exec httpd -f -h /www -p 80"
        options = ("-p", f"{RESTARTED}:80")
        dockerd.run(*options, cmd=["sh", "-c", serve], labels={"ServiceName": "web"}, name=str(RESTARTED))
    else:
        dockerd.api(f"/containers/{RESTARTED}/restart?t=0", "POST")


def replace(dockerd: Dockerd, number: int) -> None:
    """`compose up --force-recreate`: made beside the old one, which is stopped and removed, and renamed."""
    serve = 'echo "$0" >/www/index.html && exec httpd -f -h /www -p 80'
    config: dict[str, Any] = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", serve, str(number)],
        "StopSignal": "KILL",
        "Labels": {"com.docker.compose.service": "web", "com.docker.compose.project": "shop"},
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(REPLACED)}]}},
    }
    made = dockerd.api(f"/containers/create?name=temporary-{number}", "POST", config)["Id"]
    if number > 1:
        dockerd.api(f"/containers/{REPLACED}/stop?t=10", "POST")
        dockerd.api(f"/containers/{REPLACED}", "DELETE")
    dockerd.api(f"/containers/{made}/rename?name={REPLACED}", "POST")
    dockerd.api(f"/containers/{made}/start", "POST")


# -- the loop, and what clients saw --------------------------------------------------------------------


def run(stack: Stack, port: int, put: Callable[[int], None]) -> tuple[list[Attempt], list[Generation]]:
    """Put each container in its predecessor's place as soon as all clients have had that one's answer."""
    generations = []
    clients = [Attempts(stack.host, (ip, port), pause=PAUSE) for ip in ("127.0.0.1", "::1")]
    with clients[0] as v4, clients[1] as v6:
        for number in range(1, TIMES + 1):
            asked = time.time()
            put(number)
            started = start_event(stack.dockerd, port, asked)
            words = {f"{number}\n"}
            eventually(lambda w=words: v4.last_answers() == v6.last_answers() == w)  # type: ignore[misc]
            generations.append(Generation(asked, started, time.time()))
    return sorted(v4.seen() + v6.seen()), generations


def start_event(dockerd: Dockerd, port: int, since: float) -> float:
    """When the port's container has started, as Docker says."""
    filters = json.dumps({"container": [str(port)], "event": ["start"]})
    span = f"since={since:.9f}&until={time.time():.9f}"
    return float(dockerd.api(f"/events?{span}&filters={quote(filters)}")["timeNano"]) / 1e9


def check(seen: list[Attempt], generations: list[Generation]) -> str:
    outcomes = Counter(attempt.outcome for attempt in seen)
    assert set(outcomes) <= MEANWHILE, outcomes
    answers = [attempt for attempt in seen if attempt.outcome == "200"]
    starts = [generation.started for generation in generations]
    for answer in answers:
        # So many containers had started when it was asked: who answers is the last of them, or a later one.
        assert int(answer.text) >= bisect_right(starts, answer.began), answer
    for number, (one, successor) in enumerate(pairwise(generations), 1):
        settled = [a for a in seen if a.began > one.served and a.ended < successor.asked]
        assert {(a.outcome, a.text) for a in settled} <= {("200", f"{number}\n")}
    firsts = [min(a.ended for a in answers if int(a.text) == n) for n in range(1, TIMES + 1)]
    lasts = [max(a.began for a in answers if int(a.text) == n) for n in range(1, TIMES + 1)]
    back = [first - started for first, started in zip(firsts, starts, strict=True)]
    away = [first - last for last, first in zip(lasts, firsts[1:], strict=False)]
    assert max(back) < BACK_WITHIN, back
    return (
        f"{dict(outcomes)}, the longest {max(a.took for a in seen):.3f} s; from the start event to the first"
        f" answer {statistics.median(back):.3f} s, at most {max(back):.3f} s; from a container's last answer"
        f" to the next one's first {statistics.median(away):.3f} s, at most {max(away):.3f} s"
    )
