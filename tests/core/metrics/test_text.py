"""Metrics as text: what is written is what a strict reader of the format reads."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.metrics.families import INFO, Family, Histogram, Sample, counter, gauge
from shim.core.metrics.text import OPENMETRICS, PROMETHEUS, as_text, content_type_for
from tests.harness.exposition import Exposition, read

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def written(*families: Family, openmetrics: bool = False) -> Exposition:
    parts = as_text(families, OPENMETRICS if openmetrics else PROMETHEUS)
    return read(b"".join(parts).decode(), openmetrics)


@pytest.mark.parametrize("openmetrics", [False, True])
@given(values=st.lists(TEXTS, unique=True), number=st.floats(allow_nan=False, allow_infinity=False))
def test_any_label_and_number_is_read_back(openmetrics: bool, values: list[str], number: float) -> None:
    family = gauge("a_b", "What it is: \\ \n", *((number, (("x", text), ("y", "z"))) for text in values))
    found = written(family, openmetrics=openmetrics)
    assert found.kinds == {"a_b": "gauge"}
    assert [found.value("a_b", x=text, y="z") for text in values] == [number] * len(values)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_each_kind_is_named_as_its_format_wants_it(openmetrics: bool) -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)
    found = written(
        counter("asked", "Times.", (3, ())),
        Family("it", INFO, "It.", [Sample(1, (("version", "1"),), "_info")]),
        Family("took_seconds", "histogram", "Seconds.", histogram.samples((("kind", "a"),))),
        openmetrics=openmetrics,
    )
    assert found.kinds == (
        {"asked": "counter", "it": "info", "took_seconds": "histogram"}
        if openmetrics
        else {"asked_total": "counter", "it_info": "gauge", "took_seconds": "histogram"}
    )
    assert (found.value("asked_total"), found.value("it_info", version="1")) == (3, 1)
    counts = {
        bound: found.value("took_seconds_bucket", kind="a", le=bound) for bound in ("0.1", "1.0", "+Inf")
    }
    assert counts == {"0.1": 2, "1.0": 3, "+Inf": 4}
    assert math.isclose(found.value("took_seconds_sum", kind="a"), 7.65)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/plain", PROMETHEUS),
        # Prometheus' own
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        ("Application/OpenMetrics-Text", OPENMETRICS),
        ("application/openmetrics-text;q=0, text/plain", PROMETHEUS),
        (";;,,=", PROMETHEUS),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: str, wanted: str) -> None:
    assert content_type_for(accept) == wanted


def test_a_long_text_is_made_in_parts() -> None:
    family = Family("a", "gauge", "A.", (Sample(n, (("n", str(n)),)) for n in range(10_000)))
    sizes = [len(part) for part in as_text([family], PROMETHEUS)]
    assert len(sizes) > 10 and max(sizes) < 9000
