"""Two throw-away machines with a dockerd each, the same but for the userland proxy, used by turns."""

import contextlib
import time
from collections.abc import Iterator

from bench.plan import Plan
from bench.processes import settle
from bench.shims import OURS, PEER
from tests.harness.docker import IMAGE, Dockerd
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

RUN_TIMEOUT = 900.0


class Machine:
    """A dockerd that publishes without iptables, so that the proxy carries all traffic."""

    def __init__(self, dockerd: Dockerd, stack: Stack | None) -> None:
        self.dockerd = dockerd
        self.host = dockerd.host
        self.stack = stack  # ours: registrar and Envoy too

    def publish(self, what: str, name: str = "ports") -> float:
        """`docker run -p WHAT`; the seconds it took."""
        began = time.monotonic()
        args = ("run", "-d", "--stop-signal=KILL", "-p", what, "--name", name, IMAGE, "sleep", "1000000")
        self.dockerd.docker(*args, timeout=RUN_TIMEOUT)
        return time.monotonic() - began

    def remove(self, name: str = "ports") -> float:
        """`docker rm -f`; the seconds it took."""
        began = time.monotonic()
        self.dockerd.docker("rm", "-f", name, timeout=RUN_TIMEOUT)
        return time.monotonic() - began

    def served(self, ports: int) -> None:
        """Return once Envoy serves so many TCP ports, in both address families; docker-proxy does at once."""
        stack = self.stack
        if stack is not None:
            eventually(lambda: _serving(stack) == 2 * ports, 120, f"{ports} ports are served", interval=0.1)

    def settle(self) -> None:
        """Return once all that the last command set off is over."""
        settle(self.proxies)
        pids = [self.dockerd.pid]
        if self.stack is not None:
            pids += [self.stack.registrar.pid]
        settle(lambda: pids, quiet=0.5)

    def proxies(self) -> list[int]:
        return list(self.dockerd.proxies())


@contextlib.contextmanager
def machines(plan: Plan, engine: str) -> Iterator[dict[str, Machine]]:
    with contextlib.ExitStack() as all_of_it:
        host = all_of_it.enter_context(Host())
        peer = all_of_it.enter_context(Dockerd(host, engine))
        ours = all_of_it.enter_context(Stack(plan.artifact, engine, settings={"log_level": "info"}))
        both = {PEER: Machine(peer, None), OURS: Machine(ours.dockerd, ours)}
        for machine in both.values():  # an engine's first container takes longer
            machine.publish("7:7")
            machine.remove()
        yield both


def _serving(stack: Stack) -> int:
    states = [binding["state"] for binding in stack.registrar.bindings() if binding["protocol"] == "tcp"]
    return states.count("serving")
