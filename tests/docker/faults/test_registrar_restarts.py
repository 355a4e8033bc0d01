"""Containers stop, restart and are replaced while no registrar is there: what their clients get, and when.

A shim waits for a registrar that is coming back, and Docker for the shim; so no container has a port or an
address before Envoy is off it.
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from shim.wire.words import AWAY_SUFFIX, RETURN_WAIT
from tests.harness.attempts import CLOSED, CUT, REFUSED, RESET, Attempt, Attempts
from tests.harness.engines import Engine
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

NETWORK = "fixed"  # where a container can be given the address that another one has just had
RESTARTED, REPLACED, STOPPED, OTHER = 8080, 8081, 8082, 8083
MANY = range(8100, 8150)
ALL_OF_IT = 5.0  # seconds, to remove a container with MANY ports
MORE = 100  # attempts of each client once all is as it should be
PAUSE = 0.002  # after a refusal: clients that spin would only take the processors from Docker
# While a container stops and until the next one answers, a request may fail, but only like this.
MEANWHILE = {"200", "503", REFUSED, RESET, CLOSED, CUT}
COUNT_STARTS = "echo x >>/n; wc -l </n >/www/index.html; exec httpd -f -h /www -p 80"


@pytest.fixture(scope="module")
def stack(artifact: Path, engine: Engine) -> Iterator[Stack]:
    with Stack(artifact, engine) as stack:
        stack.dockerd.docker("network", "create", "--subnet", "10.77.0.0/24", NETWORK)
        yield stack


@pytest.fixture(autouse=True)
def clean(stack: Stack) -> Iterator[None]:
    yield
    if left := stack.dockerd.docker("ps", "--all", "--quiet").split():
        stack.dockerd.docker("rm", "--force", *left)


@pytest.mark.parametrize("away", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_containers_change_while_it_is_away(stack: Stack, number: signal.Signals, away: float) -> None:
    """... and no port is "already in use", and nobody is answered by another container than was meant."""
    docker = stack.dockerd
    docker.run(*at(RESTARTED, 10), cmd=["sh", "-c", COUNT_STARTS], name="restarted")
    docker.run_http("old", *at(REPLACED, 11), name="replaced")
    docker.run_http("stopped", *at(STOPPED, 12), name="stopped")
    ports = (RESTARTED, REPLACED, STOPPED)

    def restart() -> None:
        docker.docker("restart", "--time=0", "restarted")

    def replace() -> None:
        docker.docker("rm", "--force", "replaced")
        docker.run_http("new", *at(REPLACED, 11), name="replaced")

    def succeed() -> None:
        """Another container gets the address, and is served on another port."""
        docker.docker("rm", "--force", "stopped")
        docker.run_http("other", *at(OTHER, 12), name="other")

    with ExitStack() as until:
        clients = {
            port: until.enter_context(Attempts(stack.host, ("127.0.0.1", port), pause=PAUSE))
            for port in (*ports, OTHER)
        }
        for port in ports:
            eventually(lambda c=clients[port]: c.answered(20), 10, f"{port} is served")  # type: ignore[misc]
        took = while_it_is_away(stack, number, away, restart, replace, succeed)
        for port, word in ((RESTARTED, "2\n"), (REPLACED, "new\n"), (OTHER, "other\n")):
            eventually(
                lambda c=clients[port], w=word: c.last_answers() == {w},  # type: ignore[misc]
                10,
                f"{port} says {word!r}",
            )
        # Asked on: whatever is wrong with the new ones shows now.
        enough = {port: len(client.seen()) + MORE for port, client in clients.items()}
        eventually(lambda: all(len(client.seen()) >= enough[port] for port, client in clients.items()))
    seen = {port: client.seen() for port, client in clients.items()}
    outcomes = {port: dict(Counter(f"{a.outcome} {a.text[:9].strip()}" for a in seen[port])) for port in seen}
    print(f"{docker.engine.name}, {number.name}, away {away}: {took}, {outcomes}")
    check(seen[RESTARTED], "1\n", "2\n")
    check(seen[REPLACED], "old\n", "new\n")
    check(seen[STOPPED], "stopped\n", "")
    check(seen[OTHER], "", "other\n")


def at(port: int, host: int) -> tuple[str, ...]:
    return ("-p", f"{port}:80", "--network", NETWORK, "--ip", f"10.77.0.{host}")


def while_it_is_away(
    stack: Stack, number: signal.Signals, away: float, *changes: Callable[[], object]
) -> list[float]:
    """End the registrar, make the changes side by side, and start it ``away`` seconds later.

    Returns how long each change took.
    """

    def timed(change: Callable[[], object]) -> float:
        began = time.monotonic()
        change()
        return round(time.monotonic() - began, 2)

    stack.registrar.end(number)
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(timed, change) for change in changes]
        threading.Event().wait(away)
        stack.registrar.start()
        return [change.result(30) for change in running]


def check(seen: list[Attempt], before: str, after: str) -> None:
    """First one container answers and then the other, and once that one has, nothing else comes."""
    outcomes = Counter((a.outcome, a.text) for a in seen)
    assert {outcome for outcome, _ in outcomes} <= MEANWHILE, outcomes
    assert {text for outcome, text in outcomes if outcome == "200"} == {before, after} - {""}, outcomes
    firsts = [a.ended for a in seen if a.outcome == "200" and a.text == after]
    since = Counter((a.outcome, a.text) for a in seen if firsts and a.began > min(firsts))
    assert set(since) <= {("200", after)}, since


def test_it_is_killed_before_envoy_has_let_go(stack: Stack) -> None:
    """Told of a release, it dies; the next one is told again, and Envoy is off the port in time."""
    stack.dockerd.run_http("a", *at(REPLACED, 11), name="first")
    stack.get(REPLACED)
    with ThreadPoolExecutor() as pool, ExitStack() as frozen:
        os.kill(stack.envoy.pid, signal.SIGSTOP)
        frozen.callback(os.kill, stack.envoy.pid, signal.SIGCONT)
        removal = pool.submit(stack.dockerd.docker, "rm", "--force", "first")
        stack.binding(REPLACED, "releasing")
        stack.registrar.end(signal.SIGKILL)
        frozen.close()
        stack.registrar.start()
        removal.result(10)
        with pytest.raises(ConnectionRefusedError):
            stack.host.connect("127.0.0.1", REPLACED)
    stack.dockerd.run_http("b", *at(REPLACED, 11), name="second")
    assert stack.get(REPLACED).text == "b\n"


def test_one_that_is_gone_for_good_costs_one_wait(stack: Stack) -> None:
    """... and not fifty; and the one that comes after all is waited for again."""
    options = [word for port in MANY for word in ("-p", f"127.0.0.1:{port}:80")]
    stack.dockerd.run_http("many", *options, name="many")
    stack.dockerd.run_http("one", *at(OTHER, 12), name="one")
    stack.dockerd.run_http("next", *at(STOPPED, 13), name="next")
    stack.get(MANY[-1])
    stack.binding(STOPPED)
    stack.registrar.end(signal.SIGKILL)
    began = time.monotonic()
    stack.dockerd.docker("rm", "--force", "many")
    assert RETURN_WAIT < time.monotonic() - began < ALL_OF_IT
    began = time.monotonic()
    stack.dockerd.docker("rm", "--force", "one")
    assert time.monotonic() - began < RETURN_WAIT / 2
    mark = stack.registrar.socket.with_name(stack.registrar.socket.name + AWAY_SUFFIX)
    assert mark.exists()
    stack.registrar.start()
    assert not mark.exists()
    while_it_is_away(stack, signal.SIGKILL, 0.0, lambda: stack.dockerd.docker("rm", "--force", "next"))
    with pytest.raises(ConnectionRefusedError):
        stack.host.connect("127.0.0.1", STOPPED)


def test_what_envoy_sent_to_a_container_that_had_gone_never_reaches_the_next_one(stack: Stack) -> None:
    """The kernel sends it again a second later, and the address is another container's by then."""
    stack.dockerd.run_http("gone", *at(REPLACED, 11), name="gone", labels={"ProxyMode": "tcp"})
    stack.get(REPLACED)
    stack.registrar.end(signal.SIGKILL)
    stack.dockerd.docker("rm", "--force", "gone")  # it waits for a registrar, in vain
    with Attempts(stack.host, ("127.0.0.1", REPLACED), clients=4, patience=10, pause=PAUSE) as client:
        eventually(lambda: stack.host.call(connects_to, "10.77.0.11"), 10, "Envoy calls it in vain")
        stack.registrar.start()
        stack.dockerd.run_http("next", *at(OTHER, 11), name="next")
        assert stack.get(OTHER).text == "next\n"
        # All that began before has ended, one way or another.
        eventually(lambda: not stack.host.call(connects_to, "10.77.0.11"), 10, "nothing waits")
        enough = len(client.seen()) + MORE
        eventually(lambda: len(client.seen()) >= enough, 10, "asked on")
    outcomes = Counter((a.outcome, a.text) for a in client.seen())
    print(f"{stack.dockerd.engine.name}: {outcomes}")
    assert {text for _, text in outcomes} == {""}, outcomes
    # Registrars of the tests before have said so, too.
    ended = re.findall(r"ended (\d+) connections", stack.registrar.log.read_text())
    assert int(ended[-1]) > 0


def connects_to(ip: str) -> int:
    """How many connections to this address are being made, in this network namespace (proc_net_tcp(5))."""
    packed = f"{int.from_bytes(socket.inet_aton(ip), sys.byteorder):08X}:"
    lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return sum(words[2].startswith(packed) and words[3] == "02" for words in map(str.split, lines))


def test_dockerd_dies_too(stack: Stack) -> None:
    """Its containers live on, and the registrar that comes back finds their ports."""
    stack.dockerd.run_http("lives", *at(OTHER, 12), name="lives")
    stack.get(OTHER)
    with ExitStack() as until:
        client = until.enter_context(Attempts(stack.host, ("127.0.0.1", OTHER)))
        stack.registrar.end(signal.SIGKILL)
        until.callback(stack.dockerd.start)
        stack.dockerd.kill()
        stack.registrar.start()
        assert [binding["orphan"] for binding in stack.registrar.bindings()] == [True, True]  # v4, v6
        before = len(client.seen())
        eventually(lambda: len(client.seen()) > before + 50, 10, "asked on")
        assert {(a.outcome, a.text) for a in client.seen()} == {("200", "lives\n")}
