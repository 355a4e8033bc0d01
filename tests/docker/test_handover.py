"""What clients see that connect without pause while a port is handed over: to Envoy, and back."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.attempts import CLOSED, REFUSED, RESET, Attempt, Attempts, longest
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

V4, V6 = ("127.0.0.1", 8080), ("::1", 8080)
ROUNDS = 3
CLIENTS = 2  # for each address family
AFTERWARDS = 50  # answers that each of them must have had
MANY = 100  # ports of one container
# Envoy's words for a container whose port nobody listens on yet.
NOT_LISTENING = "remote connection failure"


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as running:
        yield running


def split(clients: Attempts) -> tuple[list[Attempt], list[Attempt]]:
    """The attempts begun before the first 200 was there, without those answered so; and the later ones."""
    seen = clients.seen()
    first = min(attempt.ended for attempt in seen if attempt.outcome == "200")
    return (
        [attempt for attempt in seen if attempt.began < first and attempt.outcome != "200"],
        [attempt for attempt in seen if attempt.began >= first],
    )


def outcomes(attempts: list[Attempt]) -> dict[str, int]:
    return dict(Counter(attempt.outcome for attempt in attempts))


def before_envoy(engine: Engine) -> set[str]:
    """What becomes of a connection before Envoy listens.

    Engine 28 listens itself for the moment until the shim stops that: what has connected by then is reset.
    """
    return {REFUSED, RESET} if engine.name == "28" else {REFUSED}


def test_clients_are_refused_or_reset_until_they_are_served_and_always_served_then(
    stack: Stack, engine: Engine
) -> None:
    for _ in range(ROUNDS):
        with Attempts(stack.host, V4, CLIENTS) as v4, Attempts(stack.host, V6, CLIENTS) as v6:
            eventually(lambda: v4.seen() and v6.seen(), what="they ask before there is a container")
            stack.dockerd.run_http("hello", "-p", "8080:80", name="box")
            eventually(lambda: v4.answered(AFTERWARDS) and v6.answered(AFTERWARDS), 20, "all are served")
        stack.dockerd.docker("rm", "--force", "box")
        for clients in (v4, v6):
            before, after = split(clients)
            print(
                f"engine {engine.name}, {clients.address}: {outcomes(before)} before the first answer,",
                f"the longest {longest(before, REFUSED)} and {longest(before, RESET)}",
            )
            assert {(a.outcome, a.text) for a in after} == {("200", "hello\n")}
            # One that is slower to listen than Envoy is another matter: see below.
            prompt = [attempt for attempt in before if NOT_LISTENING not in attempt.text]
            assert set(outcomes(prompt)) <= before_envoy(engine)
            # A client waits for its reset: it cannot have two of them in one hand-over.
            assert outcomes(before).get(RESET, 0) <= CLIENTS


@pytest.mark.parametrize("mode", ["auto", "http", "tcp"])
def test_until_a_late_container_listens_http_mode_says_503_and_tcp_mode_hangs_up(
    stack: Stack, engine: Engine, mode: str
) -> None:
    wait = "echo hello >/www/index.html; until [ -e /tmp/go ]; do sleep 0.01; done; exec httpd -f -h /www"
    with Attempts(stack.host, V4) as v4, Attempts(stack.host, V6) as v6:
        stack.dockerd.run("-p", "8080:80", name="box", labels={"ProxyMode": mode}, cmd=["sh", "-c", wait])
        meanwhile = {"503"} if mode != "tcp" else {RESET, CLOSED}
        stack.binding(8080)
        since = time.time()
        for clients in (v4, v6):
            eventually(lambda c=clients: sum(a.began > since for a in c.seen()) > 50)  # type: ignore[misc]
        stack.dockerd.exec("box", "touch", "/tmp/go")
        eventually(lambda: v4.answered(AFTERWARDS) and v6.answered(AFTERWARDS), 20, "both are served")
    for clients in (v4, v6):
        before, after = split(clients)
        assert {(a.outcome, a.text) for a in after} == {("200", "hello\n")}
        assert {a.outcome for a in before if a.began > since} <= meanwhile
        assert all(NOT_LISTENING in a.text for a in before if a.outcome == "503")
        assert set(outcomes(before)) <= before_envoy(engine) | meanwhile


def test_a_hundred_ports_of_a_container_are_let_go_in_one_step(stack: Stack, engine: Engine) -> None:
    """... and nobody hangs while they are taken over one by one."""
    ports = range(9100, 9100 + MANY)
    with Attempts(stack.host, ("127.0.0.1", ports[-1]), patience=16.0) as clients:
        eventually(clients.seen, what="it asks before there is a container")
        options = [word for port in ports for word in ("-p", f"127.0.0.1:{port}:80")]
        stack.dockerd.run_http("hello", *options, name="box")
        eventually(lambda: clients.answered(AFTERWARDS), 30, "the last port is served")
    before, after = split(clients)
    assert {(a.outcome, a.text) for a in after} == {("200", "hello\n")}
    assert set(outcomes(before)) <= before_envoy(engine)
    for port in ports:
        stack.binding(port)
    counters = "^listener_manager.(lds.update_success|listener_removed)$"
    earlier = stack.envoy.stats(counters)
    began = time.monotonic()
    stack.dockerd.docker("stop", "box")
    took = time.monotonic() - began
    assert stack.registrar.bindings() == []
    now = stack.envoy.stats(counters)
    updates, removed = (now[name] - earlier[name] for name in sorted(now))
    print(
        f"engine {engine.name}, {MANY} ports: the last one's longest reset {longest(before, RESET)};",
        f"stopped in {took:.2f} s, Envoy asked {updates} times",
    )
    assert removed == MANY
    assert updates <= 3
