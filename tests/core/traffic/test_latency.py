"""Percentiles from Envoy's bins."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.traffic.latency import add, bins_of, grown, percentiles, take_out


def line(*values: int) -> bytes:
    """As Envoy 1.40 writes what it has of these milliseconds: bins of two significant digits."""
    bins: dict[bytes, int] = {}
    for value in values:
        size = 10 ** max(0, len(str(value)) - 2)
        lower = value // size * size
        width = size if value >= 10 else 0.1
        bound = b"%d,%s" % (lower, f"{width:.15g}".encode())
        bins[bound] = bins.get(bound, 0) + 1
    found = sorted(bins.items(), key=lambda item: float(item[0].partition(b",")[0]))
    return b", ".join(b"%s:%d" % item for item in found)


def test_of_equal_values_all_percentiles_are_within_the_millisecond() -> None:
    found = percentiles(bins_of(line(*[50] * 1000)))
    assert found is not None
    assert found == sorted(found) and found[0] >= 50 and found[-1] <= 51


def test_half_are_below_the_first() -> None:
    found = percentiles(bins_of(line(*range(1, 100))))
    assert found == pytest.approx([50.5, 95.05, 99.01])


def test_without_values_there_are_none() -> None:
    assert percentiles({}) is None
    assert percentiles(grown(line(5), line(5))) is None


@given(st.lists(st.integers(0, 100_000), min_size=1), st.lists(st.integers(0, 100_000), min_size=1))
def test_what_came_between_two_looks_is_what_came(old: list[int], new: list[int]) -> None:
    came = grown(line(*old), line(*old, *new))
    assert came == bins_of(line(*new))
    total = bins_of(line(*old))
    add(total, came)
    assert total == bins_of(line(*old, *new))
    take_out(total, came)
    assert total == bins_of(line(*old))


@given(st.lists(st.integers(0, 100_000), min_size=1))
def test_each_percentile_is_as_near_as_the_bins_are_wide(values: list[int]) -> None:
    found = percentiles(bins_of(line(*values)))
    assert found is not None and found == sorted(found)
    for percent, shown in zip((50, 95, 99), found, strict=True):
        real = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
        assert real * 0.9 - 1 <= shown <= real * 1.1 + 1


def test_a_histogram_that_began_anew_counts_from_nothing() -> None:
    assert grown(line(5, 5, 200), line(5)) == {b"5,0.1": 1}
    assert grown(b"", line(5)) == {b"5,0.1": 1}


@given(st.binary(), st.binary())
def test_whatever_stands_there_ends_in_numbers(before: bytes, after: bytes) -> None:
    found = percentiles(grown(before, after))
    assert found is None or all(math.isfinite(value) for value in found)
