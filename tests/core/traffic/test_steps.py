"""Rates from what relays tell every five seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.traffic.steps import SPAN, Steps


@given(st.floats(0, 4.9), st.floats(0, 0.05))
def test_steady_traffic_has_a_steady_rate(after: float, late: float) -> None:
    steps, now = Steps(), 100.0
    for _ in range(8):
        now += SPAN + late
        steps.told(now, {"requests": 1000})
    assert steps.rate("requests", now + after, 10) == pytest.approx(1000 / SPAN, rel=0.02)


def test_what_came_once_is_over_after_the_window() -> None:
    steps = Steps()
    steps.told(100, {"requests": 50})
    assert steps.rate("requests", 100, 10) == 5
    assert steps.rate("requests", 104, 10) == 5
    assert 0 < steps.rate("requests", 111, 10) < 5
    assert steps.rate("requests", 121, 10) == 0


def test_a_report_after_a_sleep_is_of_the_last_seconds() -> None:
    steps = Steps()
    steps.told(100, {"requests": 50})
    steps.told(1000, {"requests": 50})
    assert steps.rate("requests", 1000, 5) == 10


def test_without_a_report_there_is_none() -> None:
    assert Steps().rate("requests", 100, 10) == 0
