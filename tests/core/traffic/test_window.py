"""Percentiles of the last seconds, although Envoy tells its histograms in steps of its own."""

from shim.core.traffic.growth import Growth
from shim.core.traffic.statistics import FIELDS, OPEN, REQUESTS
from shim.core.traffic.window import Window


def stretch(number: int, requests: int = 0, latencies: bytes = b"") -> Growth:
    growth = Growth(2.0 * number, 2.0 * number + 2)
    if requests:
        growth.add("web", [requests if field in (REQUESTS, OPEN) else 0 for field in range(len(FIELDS))])
    if latencies:
        growth.add_latencies("web", {latencies: requests})
    return growth


def test_percentiles_stay_while_there_are_requests_and_envoy_has_told_nothing_newer() -> None:
    window = Window()
    window.add(stretch(0, 100, b"50,1"))
    for number in range(1, 30):  # as with an interval of a minute
        window.add(stretch(number, 100))
        found = window.percentiles("web")
        assert found is not None and 50 <= found[0] <= found[2] <= 51
    window.add(stretch(30, 100, b"70,1"))
    assert (window.percentiles("web") or [0])[0] >= 70


def test_without_requests_there_are_none_after_the_window() -> None:
    window = Window()
    window.add(stretch(0, 100, b"50,1"))
    for number in range(1, 4):
        window.add(stretch(number))
        assert window.percentiles("web") is not None
    for number in range(4, 7):
        window.add(stretch(number))
    assert window.percentiles("web") is None and window.sums("web") is None


def test_several_envoys_measure_together() -> None:
    window, growth = Window(), stretch(0, 100, b"10,1")
    growth.add_latencies("web", {b"90,1": 300})
    window.add(growth)
    found = window.percentiles("web")
    assert found is not None and 90 <= found[0] <= 91
    assert not list(Window().active()) and [name for name, _ in window.active()] == ["web"]
