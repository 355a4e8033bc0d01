"""So much in a second, whatever is asked for."""

from hypothesis import given
from hypothesis import strategies as st

from shim.core.traces.budget import Budget

STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=50)


@given(STEPS)
def test_no_more_is_taken_than_came_and_was_kept(steps: list[tuple[float, int]]) -> None:
    budget, now, taken = Budget(10, 20, 0.0), 0.0, 0
    for pause, tokens in steps:
        now += pause
        if budget.take(tokens, now):
            taken += tokens
        assert taken <= 20 + 10 * now + 1e-6


@given(STEPS)
def test_who_waits_for_what_is_owed_is_never_faster(steps: list[tuple[float, int]]) -> None:
    budget, now, taken = Budget(10, 20, 0.0), 0.0, 0
    for pause, tokens in steps:
        now += pause + budget.borrow(tokens, now + pause)
        taken += tokens
        assert taken <= 20 + 10 * now + 1e-6


def test_after_a_pause_there_is_a_burst_and_then_the_rate() -> None:
    budget = Budget(10, 20, 0.0)
    assert budget.take(20, 0.0) and not budget.take(1, 0.0)
    assert budget.take(5, 0.5) and not budget.take(1, 0.5)
    assert not budget.take(21, 1000.0) and budget.take(20, 1000.0)
    assert budget.borrow(0, 1000.0) == 0.0
    assert budget.borrow(5, 1000.0) == 0.5
