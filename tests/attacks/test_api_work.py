"""Work for the registrar without end, and all the memory that can be had of it: nobody else notices."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.rig import NOBODY, SUBORDINATE, Rig, peak_memory
from tests.harness.wait import eventually

pytestmark = [pytest.mark.alone, pytest.mark.docker, pytest.mark.envoy]

PORTS = range(8200, 8500)
# What the registrar may have under attack (MB), whatever the attack.
MEMORY = 128
# Seconds.  It takes a quarter of one, and of what others want of the same machine there is no end.
SOON = 2.0


@pytest.fixture(scope="module")
def rig(artifact: Path) -> Iterator[Rig]:
    with Rig(artifact) as running:
        for port in PORTS:
            running.publish(port)
        running.get(PORTS[-1])
        yield running


def attacks(kind: str, count: int, **more: Any) -> Any:
    return pytest.param(kind, count, more, id=f"{kind}-{count}")


@pytest.mark.parametrize(
    ("kind", "count", "more"),
    [
        attacks("chunks", 4),
        attacks("chunks", 120),
        attacks("pages", 120, path="/bindings"),
        attacks("pages", 120, path="/status"),
        attacks("pipeline", 120),
    ],
)
def test_what_others_ask_for_holds_up_nobody_else(rig: Rig, kind: str, count: int, more: Any) -> None:
    port = PORTS[-1] + 1
    with rig.attack(kind, count, **more):
        slowest = rig.slowest_health()
        begun = time.monotonic()
        with rig.publish(port) as shim:
            registered = time.monotonic() - begun
            served = rig.get(port, 60)
            begun = time.monotonic()
            shim.stop()
            released = time.monotonic() - begun
    print(
        f"\nhealth {slowest:.2f} s, registered {registered:.2f}, served {served:.2f}, released {released:.2f}"
    )
    assert max(slowest, registered, served, released) < SOON


@pytest.mark.parametrize(
    ("floods", "users"),
    [
        ({"pipeline": (120, {})}, [NOBODY]),
        ({"names": (128, {})}, [NOBODY]),
        ({"agree": (60, {}), "unread": (60, {"path": "/bindings"})}, [NOBODY]),
        ({"agree": (60, {}), "pages": (60, {"path": "/status"})}, [NOBODY, *SUBORDINATE[::1000]]),
    ],
    ids=["pipelined", "names", "bindings", "status"],
)
def test_what_others_keep_the_registrar_busy_with_is_bounded(
    artifact: Path, rig: Rig, floods: dict[str, Any], users: Sequence[int]
) -> None:
    # A registrar of its own: memory is not given back.
    rig.registrar.end()
    rig.start_registrar()
    eventually(lambda: len(rig.registrar.bindings()) == len(PORTS))
    before = peak_memory(rig.registrar.pid)
    (first, (count, more)), *others = floods.items()
    with rig.attack(first, count, users, **more):
        if others:
            ((second, (count, more)),) = others
            with rig.attack(second, count, users, **more):
                rig.keep_busy()
        else:
            rig.keep_busy()
        during = peak_memory(rig.registrar.pid)
    print(f"\n{before:.0f} -> {during:.0f} MB at the peak")
    assert during < MEMORY


@pytest.mark.parametrize("count", [300, 128])
def test_a_user_with_a_block_of_subordinate_ids_costs_an_envoy_no_connection(rig: Rig, count: int) -> None:
    eventually(lambda: [e["node"] for e in rig.status()["envoys"]] == [rig.node])
    lost = connections(rig)
    with rig.attack("place", count, SUBORDINATE[:5000], pause=0.01):
        rig.keep_busy()
        with rig.publish(8600):
            served = rig.get(8600)
    gone = connections(rig) - lost
    print(f"\n{gone} connections of Envoy's lost, a new port served after {served:.2f} s")
    # It makes new ones now and then by itself.
    assert gone <= 1
    assert served < SOON


def connections(rig: Rig) -> int:
    """How many Envoy has made to the registrar."""
    name = "cluster.envoy_docker_shim_registrar.upstream_cx_total"
    return rig.envoy.stats(name)[name]
