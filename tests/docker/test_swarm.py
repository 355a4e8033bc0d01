"""A Swarm of one node: services under their own names, and what their clients see of rolling updates."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.harness.attempts import Attempt, Attempts
from tests.harness.docker import IMAGE, Dockerd
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

SERVE = "echo $WORD >/www/index.html && exec httpd -f -h /www"
ON_OVERLAY, ON_BRIDGE = 8085, 8086
# A stack's services are on an overlay network of its own.
STACK_FILE = {
    "version": "3.8",
    "services": {
        "web": {
            "image": IMAGE,
            "command": ["sh", "-c", SERVE.replace("$", "$$")],
            "stop_signal": "KILL",
            "environment": {"WORD": "one"},
            "labels": {"ProxyMode.80": "http"},
            "ports": [{"target": 80, "published": ON_OVERLAY, "mode": "host"}],
        }
    },
}
TIMEOUT = 40.0
# Docker tells that it has killed a container a little later than it has (seconds).
SIGNALLED = 1.0


class Moments(NamedTuple):
    """When the old task's container was told to end, and when the new one's started; on Docker's clock."""

    killed: float
    started: float


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as running:
        running.host.run("ip", "address", "add", "10.203.0.1/24", "dev", "lo")
        running.dockerd.docker("swarm", "init", "--advertise-addr", "10.203.0.1")
        yield running


@pytest.fixture
def web(stack: Stack) -> Iterator[str]:
    """The name by which Swarm knows the service of STACK_FILE."""
    file = json.dumps(STACK_FILE).encode()
    deploy = ("stack", "deploy", "--resolve-image", "never", "--compose-file", "-", "shop")
    stack.dockerd.docker(*deploy, stdin=file)
    yield "shop_web"
    stack.dockerd.docker("service", "rm", "shop_web")
    eventually(lambda: not stack.registrar.bindings(), TIMEOUT, "its ports are gone")


def create(dockerd: Dockerd, name: str, publish: str, *options: str) -> None:
    start = ("--detach", "--no-resolve-image", "--stop-signal", "KILL", "--env", "WORD=one", "--name", name)
    args = (*start, "--publish", publish, *options, IMAGE, "sh", "-c", SERVE)
    dockerd.docker("service", "create", *args)


def update(dockerd: Dockerd, service: str, order: str) -> None:
    change = ("--detach", "--no-resolve-image", "--update-order", order, "--env-add", "WORD=two")
    dockerd.docker("service", "update", *change, service)


def bindings(stack: Stack, service: str) -> list[dict[str, Any]]:
    found = [b for b in stack.registrar.bindings() if b["service"] == service]
    return [b for b in found if b["state"] == "serving"]


def served(stack: Stack, port: int) -> str:
    """What a port answers, once Swarm has started its task: that takes seconds."""

    def serving() -> bool:
        return any(b["port"] == port and b["state"] == "serving" for b in stack.registrar.bindings())

    eventually(serving, TIMEOUT, f"port {port} is served")
    return stack.get(port).text


def port_of(stack: Stack, service: str, other: int = 0) -> int:
    """Its published port, once there is one beside this."""

    def ports() -> list[int]:
        return [b["port"] for b in bindings(stack, service) if b["port"] != other]

    found = eventually(ports, TIMEOUT, f"{service} is served")
    assert found is not None
    return int(found[0])


def names(stack: Stack, service: str) -> set[tuple[str, str, str]]:
    return {(b["service"], b["environment"], b["cluster"]) for b in bindings(stack, service)}


def moments(stack: Stack, service: str, since: float) -> Moments:
    label = f"label=com.docker.swarm.service.name={service}"
    window = ("--since", f"{since:.6f}", "--until", f"{time.time():.6f}")
    text = stack.dockerd.docker("events", *window, "--filter", label, "--format", "{{json .}}")
    at = {event["Action"]: event["timeNano"] / 1e9 for event in map(json.loads, text.splitlines())}
    return Moments(at["kill"], at["start"])


def outcomes(attempts: list[Attempt]) -> dict[str, int]:
    return dict(Counter(a.text.strip() if a.outcome == "200" else a.outcome for a in attempts))


def test_a_stacks_service_keeps_its_name_and_stop_first_costs_the_tasks_own_gap(
    stack: Stack, engine: Engine, web: str
) -> None:
    assert served(stack, ON_OVERLAY) == "one\n"
    before = {("web", "shop", f"web-shop-{ON_OVERLAY}")}
    eventually(lambda: names(stack, "web") == before, 5, "it is known by its published address")
    assert {(b["container"][:11], b["problem"]) for b in bindings(stack, "web")} == {("shop_web.1.", "")}
    with Attempts(stack.host, ("127.0.0.1", ON_OVERLAY), 2, rest=0.005, pause=0.005) as clients:
        eventually(lambda: clients.answered(20), 10, "the old task answers")
        began = clients.seen()[-1].began
        update(stack.dockerd, web, "stop-first")
        eventually(lambda: clients.last_answers() == {"two\n"}, TIMEOUT, "the new task answers")
        answered = len(clients.seen())
        eventually(lambda: len(clients.seen()) > answered + 50, 10, "and goes on")
    seen, found = clients.seen(), moments(stack, web, began)
    first = min(a.ended for a in seen if a.text == "two\n")
    gap, late = found.started - found.killed, first - found.started
    print(f"engine {engine.name}: {outcomes(seen)}; gap {gap:.2f} s, served {late:.3f} s later")
    # One gap: the old task does not come back from it, and nothing fails once the new one has answered.
    failed = [a for a in seen if a.outcome != "200"]
    fell = min(a.ended for a in failed)
    assert outcomes([a for a in seen if a.began < fell and a not in failed]).keys() == {"one"}
    assert "one" not in outcomes([a for a in seen if a.began > fell])
    assert outcomes([a for a in seen if a.began > first]).keys() == {"two"}
    assert fell > found.killed - SIGNALLED
    eventually(lambda: names(stack, "web") == before, 10, "it has its old name")


def test_start_first_with_ports_of_their_own_fails_no_request(stack: Stack, engine: Engine) -> None:
    create(stack.dockerd, "dyn", "mode=host,target=80")
    old = port_of(stack, "dyn")
    assert served(stack, old) == "one\n"
    with Attempts(stack.host, ("127.0.0.1", old), 2, rest=0.005, pause=0.005) as clients:
        eventually(lambda: clients.answered(20), 10, "the old task answers")
        began = clients.seen()[-1].began
        update(stack.dockerd, "dyn", "start-first")
        new = port_of(stack, "dyn", other=old)
        with Attempts(stack.host, ("127.0.0.1", new), 2, rest=0.005) as followers:
            eventually(lambda: followers.answered(20), 10, "the new task answers")
            eventually(
                lambda: {b["port"] for b in bindings(stack, "dyn")} == {new}, TIMEOUT, "the old one goes"
            )
            eventually(lambda: followers.answered(100), 10, "the new one goes on")
    found = moments(stack, "dyn", began)
    print(f"engine {engine.name}: {outcomes(clients.seen())}, then {outcomes(followers.seen())}")
    assert found.started < found.killed
    assert outcomes([a for a in clients.seen() if a.ended < found.killed - SIGNALLED]).keys() == {"one"}
    first = min(a.ended for a in followers.seen() if a.outcome == "200")
    assert outcomes([a for a in followers.seen() if a.began > first]).keys() == {"two"}
    eventually(lambda: names(stack, "dyn") == {("dyn", "", f"dyn-{new}")}, 10, "it has its name")
    stack.dockerd.docker("service", "rm", "dyn")


def test_start_first_with_one_port_waits_for_ever_and_fails_no_request(stack: Stack) -> None:
    """And the container's own label counts more than Swarm's name."""
    publish = f"mode=host,published={ON_BRIDGE},target=80"
    create(stack.dockerd, "fixed", publish, "--container-label", "ServiceName=ours")
    assert served(stack, ON_BRIDGE) == "one\n"
    with Attempts(stack.host, ("127.0.0.1", ON_BRIDGE), 2, rest=0.005) as clients:
        eventually(lambda: clients.answered(20), 10, "the old task answers")
        update(stack.dockerd, "fixed", "start-first")
        tasks = ("service", "ps", "fixed", "--no-trunc", "--format", "{{.Error}}")
        eventually(lambda: "already in use" in stack.dockerd.docker(*tasks), TIMEOUT, "Swarm says why")
    assert outcomes(clients.seen()).keys() == {"one"}
    eventually(lambda: names(stack, "ours") == {("ours", "", f"ours-{ON_BRIDGE}")}, 10, "our name")
    stack.dockerd.docker("service", "rm", "fixed")
