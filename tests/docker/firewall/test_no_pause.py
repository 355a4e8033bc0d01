"""Whatever dies, restarts or is taken away: who connects from the network has an answer each time."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.firewall.pauses import Crowd
from tests.docker.firewall.rig import SIX, TABLE, add_six, elements, led_to_envoy, remove_all, stack_with
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

# How often each dies: EDS_ROUNDS is how often else.
ROUNDS = int(os.environ.get("EDS_ROUNDS", "0"))
ENVOY_DEATHS, REGISTRAR_DEATHS, BOTH, STARTS = (ROUNDS or n for n in (5, 5, 3, 2))
FLUSHES = 3  # each time the registrar waits longer
PORT = 8080


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With a file of its own, that may be replaced."""
    file = tmp_path_factory.mktemp("bin") / artifact.name
    shutil.copy2(artifact, file)
    with stack_with(file, engine) as running:
        add_six(running.dockerd)
        running.dockerd.run_http("hello", "-p", f"{PORT}:80", "--network", SIX, name="stays")
        yield running


@pytest.fixture
def crowd(stack: Stack, engine: Engine) -> Iterator[Crowd]:
    """Clients of the container that stays."""
    led_to_envoy(stack, PORT)
    # 20.10 has no rules for IPv6: without Envoy there is no way in.
    with Crowd(stack.host, PORT, six=engine.name == "28") as crowd:
        crowd.go_on()
        yield crowd


def test_from_its_first_answer_on_a_new_container_answers_always(stack: Stack, engine: Engine) -> None:
    for round in range(STARTS):
        with Crowd(stack.host, 8090) as crowd:
            stack.dockerd.run_http("new", "-p", "8090:80", name="new")
            crowd.go_on()
            led_to_envoy(stack, 8090)
            crowd.go_on()
        crowd.report(f"engine {engine.name}, docker run {round}")
        remove_all(stack.dockerd, ["stays"])
        assert crowd.served_from_the_first_answer_on(), crowd.lost()[-5:]
        assert elements(stack.host) == {f"0.0.0.0 {PORT}", f":: {PORT}"}


def test_envoy_is_killed(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    for _ in range(ENVOY_DEATHS):
        with crowd.dying():
            stack.envoy.kill()
        crowd.go_on()
        stack.envoy.start()
        led_to_envoy(stack, PORT)
        crowd.go_on()
    crowd.report(f"engine {engine.name}, Envoy killed {ENVOY_DEATHS} times")
    assert not crowd.story()


def test_envoy_is_restarted(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    with crowd.dying():
        stack.envoy.stop()
    stack.envoy.start()
    led_to_envoy(stack, PORT)
    crowd.go_on()
    crowd.report(f"engine {engine.name}, Envoy restarted")
    assert not crowd.story()


def test_the_registrar_is_killed(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    for _ in range(REGISTRAR_DEATHS):
        stack.registrar.end(signal.SIGKILL)
        crowd.go_on()
        stack.registrar.start()
        led_to_envoy(stack, PORT)
        crowd.go_on()
    crowd.report(f"engine {engine.name}, registrar killed {REGISTRAR_DEATHS} times")
    assert not crowd.story()


def test_both_are_killed(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    for round in range(BOTH):
        stack.registrar.end(signal.SIGKILL)
        with crowd.dying():
            stack.envoy.kill()
        crowd.go_on()
        # Whichever comes back first: Envoy waits for its configuration.
        if round % 2:
            stack.registrar.start()
        stack.envoy.launch()
        if not round % 2:
            crowd.go_on()
            stack.registrar.start()
        led_to_envoy(stack, PORT)
        crowd.go_on()
    crowd.report(f"engine {engine.name}, both killed {BOTH} times")
    assert not crowd.story()


def test_the_file_is_upgraded(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    new = stack.registrar.artifact.with_name("new")
    shutil.copy2(stack.registrar.artifact, new)
    new.rename(stack.registrar.artifact)
    stack.registrar.end()
    crowd.go_on()
    stack.registrar.start()
    led_to_envoy(stack, PORT)
    stack.dockerd.run_http("new", "-p", "8090:80", name="new")
    led_to_envoy(stack, 8090)
    crowd.go_on()
    remove_all(stack.dockerd, ["stays"])
    crowd.report(f"engine {engine.name}, the file upgraded")
    assert not crowd.story()


def test_the_ruleset_is_flushed(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    """Docker's rules, too, and with them what would lead past Envoy."""
    for _ in range(FLUSHES):
        eventually(lambda: youngest(stack) == TABLE, 10, "the table is younger than Docker's")
        saved = stack.host.run("iptables-save"), stack.host.run("ip6tables-save")
        stack.host.run("nft", "flush", "ruleset")
        eventually(lambda: elements(stack.host), 5, "the table is back")
        crowd.go_on()
        for text, program in zip(saved, ("iptables-restore", "ip6tables-restore"), strict=True):
            stack.host.run(program, stdin=text.encode())
        crowd.go_on()
    crowd.report(f"engine {engine.name}, rules flushed {FLUSHES} times")
    assert not crowd.story()


def youngest(stack: Stack) -> tuple[str, ...]:
    """The table that was made last."""
    return tuple(stack.host.run("nft", "list", "tables").split()[-2:])


def test_the_table_alone_is_deleted(stack: Stack, engine: Engine, crowd: Crowd) -> None:
    for _ in range(2):
        stack.host.run("nft", "delete", "table", *TABLE)
        eventually(lambda: elements(stack.host), 1, "the table is back")
        crowd.go_on()
    crowd.report(f"engine {engine.name}, the table deleted twice")
    assert not crowd.story()
