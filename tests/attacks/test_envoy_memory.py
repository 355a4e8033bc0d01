"""Clients that make Envoy keep what they send: there is a bound on what one has, and on how long."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.rig import NOBODY, Rig, peak_memory
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

PORT = 8100
SENDERS = 150
HEAP_MB = 256


# What an unfinished head may cost Envoy at most, in MB: in mode auto it is also what waits to be read.
EACH = {"http": 0.6, "auto": 1.7}


@pytest.fixture(scope="module", params=EACH)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rig(artifact: Path, mode: str) -> Iterator[Rig]:
    with Rig(artifact, {"default_mode": mode}) as running:
        running.publish(PORT)
        running.get(PORT)
        yield running


def connections(rig: Rig) -> int:
    """How many clients' connections Envoy has had."""
    return sum(rig.envoy.stats(r"^listener\..*\.downstream_cx_total$").values())


def test_requests_whose_heads_do_not_end_are_small(rig: Rig, mode: str) -> None:
    before = peak_memory(rig.envoy.pid)
    with rig.attack("heads", SENDERS, [NOBODY], f"127.0.0.1:{PORT}"):
        eventually(lambda: connections(rig) > 2 * SENDERS, 90, "all were turned away once")
        assert rig.get(PORT) < 1
    after = peak_memory(rig.envoy.pid)
    print(f"\nEnvoy: {before:.0f} -> {after:.0f} MB at the peak")
    # Without bounds it was above 1,200 MB.
    assert after < before + EACH[mode] * SENDERS


def test_with_heads_as_large_as_can_be_the_heap_is_the_bound(artifact: Path) -> None:
    """And Envoy serves as before once they are gone."""
    with Rig(artifact, {"max_header_kb": 8192, "envoy_heap_mb": HEAP_MB}) as rig:
        rig.publish(PORT)
        rig.get(PORT)
        with rig.attack("heads", SENDERS, [NOBODY], f"127.0.0.1:{PORT}"):
            eventually(
                lambda: connections(rig) > 2 * SENDERS, 60, "many have been turned away, and came again"
            )
        after = peak_memory(rig.envoy.pid)
        served = rig.get(PORT)
    print(f"\nEnvoy: {after:.0f} MB at the peak, answers after {served:.2f} s")
    # What it has beside its heap, and what comes in between two looks at it.
    assert after < 2 * HEAP_MB
