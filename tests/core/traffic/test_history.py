"""The last ten minutes."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from shim.core.traffic.history import POINTS, SERIES, History

ONE = [1.0] * len(SERIES)
REST = [math.nan if name in ("p50", "p95", "p99") else 0.0 for name in SERIES]


def activity(history: History) -> dict[str, list[float | None]]:
    return {name: json.loads(text) for name, text in history.activity()}


def test_what_nobody_looked_at_is_null_and_what_had_nothing_is_0() -> None:
    history = History()
    history.begin(1000)
    history.begin(1002)
    history.put("web", ONE)
    found = history.series("web")
    assert found["requests"][-3:] == [0.0, None, 1.0] and set(found["requests"][:-3]) == {None}
    assert found["p50"][-3:] == [None, None, 1.0]
    assert history.series("db")["requests"][-3:] == [0.0, None, 0.0]
    assert history.series("db")["p50"][-1] is None
    assert activity(history) == {"web": found["requests"]}


def test_before_anybody_looked_there_is_nothing() -> None:
    assert set(History().series("web")["requests"]) == {None}


def test_bytes_only_are_shown_by_connections() -> None:
    history = History()
    history.begin(5)
    history.put("db", [7.0 if name == "connects" else 0.0 for name in SERIES])
    assert activity(history)["db"][-1] == 7
    history.begin(6)
    history.put("db", ONE)  # it spoke HTTP after all
    assert activity(history)["db"][-2:] == [0, 1]


def test_a_service_that_is_gone_is_forgotten_ten_minutes_later() -> None:
    history = History()
    history.begin(1)
    history.put("web", ONE)
    history.begin(POINTS)
    assert list(activity(history)) == ["web"]
    history.begin(1 + POINTS)
    assert not activity(history)


@given(
    st.lists(
        st.tuples(st.integers(1, 5) | st.integers(1, 150), st.sets(st.sampled_from("abc")), st.booleans())
    )
)
def test_the_ring_is_what_a_list_of_all_points_would_say(steps: list[tuple[int, set[str], bool]]) -> None:
    history, number = History(), 0
    points: dict[int, set[str]] = {}
    for pause, names, read in steps:
        number += pause
        points[number] = names
        history.begin(number)
        for name in names:
            history.put(name, ONE)
        if read:  # also what is read now and then is whole
            for name, values in activity(history).items():
                assert values == history.series(name)["requests"]
    for name in "abc":
        shown = history.series(name)["in"]
        assert len(shown) == POINTS
        wanted = [points.get(at) for at in range(history.newest - POINTS + 1, history.newest + 1)]
        assert shown == [None if names is None else float(name in names) for names in wanted]
