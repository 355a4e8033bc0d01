"""A local user wants the port of a container that starts, or what its clients send."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import thief
from tests.attacks.places import ENVOY, NOBODY, ROOT, Stacked, program, said
from tests.harness import flooder
from tests.harness.engines import Engine
from tests.harness.netns import CommandError
from tests.harness.proxy import sharing
from tests.harness.registrar import API_PORT
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

ROUNDS = 4
API = f"127.0.0.1:{API_PORT}"
PORT = 20000 + os.getpid() % 10000  # the thieves of several runs see each other's shims


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stacked]:
    stack = Stacked(artifact, engine)
    with stack:
        yield stack


@pytest.mark.parametrize("ip", ["0.0.0.0", "127.0.0.1", "::"])
def test_a_user_who_has_bound_the_port_before_cannot_listen_on_it(
    stack: Stacked, engine: Engine, ip: str
) -> None:
    local = "::1" if ":" in ip else "127.0.0.1"
    words, answers = [], []
    for _ in range(ROUNDS):
        with program(stack.host, thief, NOBODY, ip, PORT) as attacker:
            assert said(attacker) == "bound"
            stack.dockerd.run_http("hello", "-p", f"{PORT}:80", name="victim")
            words.append(said(attacker))
            answers.append(stack.get(PORT, local).text)
        stack.dockerd.docker("rm", "--force", "victim")
    print(f"engine {engine.name}, {ip}: took it {words.count('took it')} of {ROUNDS} times")
    assert set(words) == {"refused"}
    assert set(answers) == {"hello\n"}


def test_a_container_that_was_there_before_envoy_is_handed_over_to_envoys_user_alone(
    artifact: Path, engine: Engine
) -> None:
    """At boot nobody knows yet who Envoy is; a stranger who has bound the port does not get it either."""
    stack = Stacked(artifact, engine)
    stack.envoy, envoy = NotYet(), stack.envoy  # type: ignore[assignment]
    with stack, program(stack.host, thief, NOBODY, "127.0.0.1", PORT) as attacker:
        assert said(attacker) == "bound"
        stack.dockerd.run_http("hello", "-p", f"{PORT}:80")
        assert said(attacker) == "refused"
        with envoy:
            began = time.monotonic()
            assert stack.get(PORT).text == "hello\n"
            print(f"engine {engine.name}: served {time.monotonic() - began:.2f} s after Envoy was there")
            stack.binding(PORT)


def test_a_user_who_poses_as_envoy_gets_no_port_where_envoys_user_is_known(
    artifact: Path, engine: Engine
) -> None:
    stack = Stacked(artifact, engine, settings={"envoy_user": ENVOY, "api_address": API})
    stack.envoy, envoy = NotYet(), stack.envoy  # type: ignore[assignment]
    with stack, program(stack.host, flooder, "nodes", API, 1, NOBODY) as poser:
        assert said(poser) == "flooding"
        with program(stack.host, thief, NOBODY, "127.0.0.1", PORT) as attacker:
            assert said(attacker) == "bound"
            stack.dockerd.run_http("hello", "-p", f"{PORT}:80")
            assert said(attacker) == "refused"
            with envoy:
                assert stack.get(PORT).text == "hello\n"


def test_an_envoy_that_comes_back_as_another_user_is_given_the_ports(artifact: Path) -> None:
    """Both are believed: root, as in examples/compose.yaml, and then the one that is configured."""
    stack = Stacked(artifact, user=ROOT, settings={"envoy_user": ENVOY})
    with stack:
        stack.dockerd.run_http("hello", "-p", f"{PORT}:80", name="victim")
        assert stack.get(PORT).text == "hello\n"
        stack.envoy.stop()
        with stack.envoy_of(ENVOY, "another") as another:
            assert stack.get(PORT).text == "hello\n"
            stack.binding(PORT)
            another.kill()
            # And now it is that user's: whoever else listens is refused, with no Envoy there.
            for user in (NOBODY, ROOT):
                with pytest.raises(OSError, match="Address already in use"):
                    stack.host.call(sharing, ("127.0.0.1", PORT), user)


def test_datagrams_of_a_published_port_are_nobody_elses(stack: Stacked, engine: Engine) -> None:
    """Of two UDP sockets with SO_REUSEADDR the later one gets them all."""
    stack.dockerd.run_udp_echo("-p", f"{PORT}:7/udp", name="victim")
    eventually(lambda: stack.host.udp_ask("127.0.0.1", PORT, b"hello") == b"hello", 20)
    with stack.host.socket(kind=socket.SOCK_DGRAM) as attacker:
        os.fchown(attacker.fileno(), NOBODY, -1)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            attacker.setsockopt(socket.SOL_SOCKET, option, 1)
        for ip in ("0.0.0.0", "127.0.0.1"):
            with pytest.raises(OSError, match="Address already in use"):
                attacker.bind((ip, PORT))
    assert stack.host.udp_ask("127.0.0.1", PORT, b"hello") == b"hello"
    stack.dockerd.docker("rm", "--force", "victim")


@pytest.mark.parametrize("ip", ["0.0.0.0", "127.0.0.1"])
def test_datagrams_go_to_no_user_who_has_bound_the_port_before(
    stack: Stacked, engine: Engine, ip: str
) -> None:
    """Then the container does not start, and says why: as with any port that is taken."""
    with stack.host.socket(kind=socket.SOCK_DGRAM) as attacker:
        os.fchown(attacker.fileno(), NOBODY, -1)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            attacker.setsockopt(socket.SOL_SOCKET, option, 1)
        attacker.bind((ip, PORT))
        with pytest.raises(CommandError, match="bind: address already in use"):
            stack.dockerd.run_udp_echo("-p", f"{PORT}:7/udp", name="victim")
    stack.dockerd.docker("rm", "--force", "victim")
    stack.dockerd.run_udp_echo("-p", f"{PORT}:7/udp", name="victim")
    eventually(lambda: stack.host.udp_ask("127.0.0.1", PORT, b"hello") == b"hello", 20)
    stack.dockerd.docker("rm", "--force", "victim")


class NotYet:
    """In the place of an Envoy that is started later."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass
