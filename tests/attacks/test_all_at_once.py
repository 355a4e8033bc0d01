"""Every attack at the same time by four users, while clients and containers go on as ever.

For 12 s; EDS_ATTACK_SECONDS is how long else.
"""

import os
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.rig import NOBODY, SUBORDINATE, Rig, peak_memory

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]

SECONDS = float(os.environ.get("EDS_ATTACK_SECONDS", "12"))
PORTS = range(8100, 8200)
MALLORY, TRUDY = 1000, 1001


class Client:
    """Asks a port again and again; every answer but 200 is a failure."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.asked = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self._rig, self._port = rig, port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended.is_set():
            self.asked += 1
            begun = time.monotonic()
            try:
                answer = self._rig.host.http_get(f"http://127.0.0.1:{self._port}/")
                if answer.status != 200:
                    self.failures.append(answer.text)
            except OSError as error:
                self.failures.append(str(error))
            self.slowest = max(self.slowest, time.monotonic() - begun)


def attacks_on(rig: Rig) -> list[tuple[str, int, Sequence[int], dict[str, Any]]]:
    return [
        ("pose", 40, [NOBODY], {"node": {"id": rig.node}}),
        ("agree", 30, [NOBODY], {}),
        ("chunks", 30, [MALLORY], {}),
        ("pipeline", 30, [MALLORY], {}),
        ("pages", 60, [TRUDY], {"path": "/bindings"}),
        ("unread", 60, [TRUDY], {"path": "/status"}),
        ("names", 60, [TRUDY], {}),
        ("place", 200, SUBORDINATE[:2000], {"pause": 0.02}),
        ("heads", 100, SUBORDINATE[:2000], {"address": f"127.0.0.1:{PORTS[0]}"}),
    ]


def usual(rig: Rig) -> float:
    """Seconds until a new port is served when nobody attacks."""
    times = []
    for port in range(PORTS[-1] + 1000, PORTS[-1] + 1005):
        with rig.publish(port):
            times.append(rig.get(port))
    return statistics.median(times)


def test_all_attacks_together_cost_nobody_else_anything(artifact: Path) -> None:
    with Rig(artifact) as rig:
        for port in PORTS:
            rig.publish(port)
        rig.get(PORTS[-1])
        # On a machine that has other work as well a second is soon over without an attack.
        limit = max(1.0, 8 * usual(rig))
        with ExitStack() as attacks:
            for kind, count, users, more in attacks_on(rig):
                attacks.enter_context(rig.attack(kind, count, users, **more))
            served: list[float] = []
            released: list[float] = []
            registered: list[float] = []
            until = time.monotonic() + SECONDS
            with Client(rig, PORTS[0]) as one, Client(rig, PORTS[1]) as other:
                port = PORTS[-1]
                while time.monotonic() < until:
                    port += 1
                    begun = time.monotonic()
                    with rig.publish(port) as shim:
                        registered.append(time.monotonic() - begun)
                        served.append(rig.get(port))
                        begun = time.monotonic()
                        shim.stop()
                        released.append(time.monotonic() - begun)
        registrar, envoy = peak_memory(rig.registrar.pid), peak_memory(rig.envoy.pid)
        print(
            f"\n{len(served)} ports: registered {max(registered):.2f} s, served {max(served):.2f} s"
            f" (median {statistics.median(served):.2f}, {sum(s > 1 for s in served)} over a second),"
            f" released {max(released):.2f} s at the worst; {one.asked + other.asked} requests,"
            f" slowest {max(one.slowest, other.slowest):.2f} s; registrar {registrar:.0f} MB,"
            f" Envoy {envoy:.0f} MB at the peak"
        )
        assert one.failures == other.failures == []
        # Nine attackers at full speed leave the registrar a part of the processors: seldom it has to wait.
        assert statistics.median(served) < limit and max(served) < 3 * limit
        assert max(registered) < limit and max(released) < 2.5 * limit
        assert registrar < 128 and envoy < 256
