"""How soon the kernel's table has what Envoy has taken, and what that costs, with 1,000 and 10,000 bindings.

The registrar is a real one in a network namespace; shims, Docker and Envoy are those of registrar_rig.py.
"""

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.plan import Plan
from bench.processes import most_bindings, open_files_to_the_limit
from bench.registrar_rig import TIMEOUT, Answer, Docker, Rig
from bench.rows import Row, limit
from shim.core.firewall.notices import NEW_GENERATION, SUBSYSTEM_NFTABLES
from shim.registrar.firewall import watch
from tests.harness.host import Host
from tests.harness.registrar import HostRegistrar
from tests.harness.wait import eventually

PART = "push"
NEW = (SUBSYSTEM_NFTABLES << 8 | NEW_GENERATION).to_bytes(2, sys.byteorder)


def push(plan: Plan) -> Iterator[Row]:
    for wanted in (100,) if plan.quick else (1_000, 10_000):
        size = min(wanted, most_bindings())
        whole: list[float] = []
        one = nft = ours = [0.0]
        for _ in range(plan.times(3 if size <= 1_000 else 1, 1)):
            with _rig(plan) as (found, kernel):
                whole.append(_whole(found, kernel, size))
                one, nft, ours = _one_by_one(found, kernel, plan.times(30, 5))
        each = "of a container's coming and going: four pushes to Envoy, two changes of the table"
        yield _row("Envoy has taken all to all in one transaction", whole, size, 100 if size <= 1_000 else 0)
        yield _row("Envoy has taken one more to the table has it", one, size, 20)
        yield _row("CPU of nft, a container's coming and going", nft, size, 0, each)
        yield _row("CPU of the registrar, a container's coming and going", ours, size, 0, each)


def _row(what: str, seconds: list[float], size: int, target: float, note: str = "") -> Row:
    samples = [1000 * s for s in seconds]
    return Row(PART, what, "ms", samples, None, limit(target) if target else None, note, size, "bindings")


class _Kernel(threading.Thread):
    """When each transaction of nftables was done."""

    def __init__(self, host: Host) -> None:
        super().__init__(daemon=True)
        self._sock = host.call(watch.listen, watch.NETLINK_NETFILTER, watch.NFTABLES_GROUP)
        self.done: list[float] = []
        self.start()

    def run(self) -> None:
        while data := self._sock.recv(watch.MOST):
            if data[4:6] == NEW:
                self.done.append(time.monotonic())

    def since(self, moment: float) -> float:
        """Seconds until the first transaction that was done after this moment."""
        later = eventually(
            lambda: [done for done in self.done if done > moment], TIMEOUT, "a change", interval=0.001
        )
        return float(later[0] - moment)


def _whole(found: Rig, kernel: _Kernel, size: int) -> float:
    """Envoy comes and takes them all."""
    found.fill(size)
    found.connect(1)
    [poller] = found.pollers["listeners"]
    accepted = _accepted(poller.answers[0])
    took = kernel.since(accepted)
    eventually(lambda: _applied(found) == size, TIMEOUT, f"{size} addresses are in the table", 0.1)
    return took


def _one_by_one(found: Rig, kernel: _Kernel, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Until the table has one more; nft's and the registrar's CPU for that and for its going."""
    took = []
    nft, ours = _children_cpu(found.pid), found.cpu()
    for _ in range(rounds):
        counts = found.counts("listeners")
        [shim], container = found.register()
        found.docker.start([container])
        [answer] = found.next("listeners", counts)
        took.append(kernel.since(_accepted(answer)))
        released = time.monotonic()
        shim.release()
        kernel.since(released)
        shim.wait_for_exit()
        shim.end()
        found.shims.remove(shim)
    nft, ours = _children_cpu(found.pid) - nft, found.cpu() - ours
    return took, [nft / rounds], [ours / rounds]


def _accepted(answer: Answer) -> float:
    """When Envoy's next poll said that it has taken this."""
    return float(eventually(lambda: answer.accepted < math.inf and answer.accepted, TIMEOUT, interval=0.001))


def _applied(found: Rig) -> int:
    firewall = json.loads(found.registrar.read("/status").body)["firewall"]
    return int(firewall["addresses"]) if firewall["whole"] else -1


def _children_cpu(pid: int) -> float:
    """Seconds, of its children that have ended; the kernel counts hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _rig(plan: Plan) -> Iterator[tuple[Rig, _Kernel]]:
    open_files_to_the_limit()
    with Host() as host:
        docker = Docker(f"{host.dir}/docker.sock")
        docker_host = f"unix://{host.dir}/docker.sock"
        registrar = HostRegistrar(host, plan.artifact, docker_host, {"log_level": "info"})
        registrar.start()
        found = Rig(registrar, docker, registrar.pid, "10.77")
        try:
            yield found, _Kernel(host)
        finally:
            for pollers in found.pollers.values():
                for poller in pollers:
                    poller.close()
            for shim in found.shims:
                shim.end()
            registrar.end()
