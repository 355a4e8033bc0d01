"""Rates from what relays tell every five seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.traffic.steps import SPAN, Steps


@given(st.floats(0, 4.9), st.lists(st.floats(0, 2.4), min_size=8, max_size=8))
def test_steady_traffic_has_a_steady_rate_however_late_reports_are(after: float, late: list[float]) -> None:
    steps, now = Steps(), 100.0
    for more in late:
        now += SPAN + more
        steps.told(now, {"requests": round(1000 * (SPAN + more))})
    assert steps.rate("requests", now + after, 10) == pytest.approx(1000, rel=0.01)


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
