"""The UDP client table against tables of cases, and against a model that is too simple to be wrong."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shim.relay.flows import Counters, Flow, FlowTable

IDLE = 90.0


def make_table(*keys: str, limit: int = 10) -> FlowTable[Flow]:
    """A table whose flows were added at 0, 1, 2 ... seconds."""
    table: FlowTable[Flow] = FlowTable(limit, IDLE)
    for now, key in enumerate(keys):
        table.add(Flow(key), now)
    return table


def flow(table: FlowTable[Flow], key: str) -> Flow:
    found = table.get(key)
    assert found is not None
    return found


def keys(flows: list[Flow]) -> list[object]:
    return [flow.key for flow in flows]


@pytest.mark.parametrize(
    ("now", "ended"),
    [(0.0, []), (89.99, []), (90.0, ["a"]), (91.5, ["a", "b"]), (1000.0, ["a", "b", "c"])],
)
def test_a_flow_ends_when_its_time_is_up_and_not_before(now: float, ended: list[str]) -> None:
    table = make_table("a", "b", "c")
    assert keys(table.expire(now)) == ended
    assert len(table) == 3 - len(ended)
    assert table.counters.expired == len(ended)


def test_a_touched_flow_lives_on_and_goes_to_the_end_of_the_queue() -> None:
    table = make_table("a", "b")
    table.touch(flow(table, "a"), 60.0)
    assert keys(table.expire(120.0)) == ["b"]
    assert table.deadline() == 150.0
    assert keys(table.expire(150.0)) == ["a"]


def test_the_deadline_is_the_oldest_flows_and_none_without_flows() -> None:
    table = make_table("a", "b")
    assert table.deadline() == 90.0
    table.expire(90.0)
    assert table.deadline() == 91.0
    table.expire(91.0)
    assert table.deadline() is None


def test_a_full_table_evicts_the_flow_idle_for_longest() -> None:
    table = make_table("a", "b", limit=2)
    table.touch(flow(table, "a"), 2.0)
    evicted = table.add(Flow("c"), 3.0)
    assert evicted is not None and evicted.key == "b"
    assert len(table) == 2
    assert table.get("b") is None
    assert (table.counters.created, table.counters.evicted) == (3, 1)


def test_evict_says_when_there_is_nothing_to_evict() -> None:
    table = make_table()
    assert table.evict() is None
    assert table.counters.evicted == 0


def test_clear_hands_back_every_flow_and_counts_none() -> None:
    table = make_table("a", "b")
    assert keys(table.clear()) == ["a", "b"]
    assert len(table) == 0
    assert (table.counters.expired, table.counters.evicted) == (0, 0)


def test_a_key_is_taken_once() -> None:
    table = make_table("a")
    with pytest.raises(ValueError, match="here already"):
        table.add(Flow("a"), 1.0)


@pytest.mark.parametrize(("limit", "idle"), [(0, 90.0), (-1, 90.0), (1, 0.0), (1, -1.0)])
def test_a_table_without_room_or_time_is_refused(limit: int, idle: float) -> None:
    with pytest.raises(ValueError, match="room and time"):
        FlowTable(limit, idle)


@pytest.mark.parametrize(
    ("name", "lossy"),
    [
        ("created", False),
        ("expired", False),
        ("evicted", True),
        ("refused", True),
        ("dropped_requests", True),
        ("dropped_replies", True),
    ],
)
def test_counters_tell_loss_from_the_ordinary(name: str, lossy: bool) -> None:
    counters = Counters()
    assert not counters.lossy
    setattr(counters, name, 3)
    assert counters.lossy is lossy
    assert f"{name} 3" in str(counters)


class TableAgainstModel(RuleBasedStateMachine):
    """The table does what a plain dict of key to last datagram, searched in full, would do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table: FlowTable[Flow] = FlowTable(4, IDLE)
        self.model: dict[int, float] = {}

    def oldest(self) -> int:
        # min takes the first of equals: the dict is kept in the order of use, as the table is.
        return min(self.model, key=lambda key: self.model[key])

    def used(self, key: int) -> None:
        self.model.pop(key, None)
        self.model[key] = self.now

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.integers(0, 7))
    def datagram(self, key: int) -> None:
        known = self.table.get(key)
        assert (known is not None) == (key in self.model)
        if known is not None:
            self.table.touch(known, self.now)
        else:
            expected = self.oldest() if len(self.model) == 4 else None
            evicted = self.table.add(Flow(key), self.now)
            assert (evicted.key if evicted else None) == expected
            if expected is not None:
                del self.model[expected]
        self.used(key)

    @rule()
    def expire(self) -> None:
        ended = [key for key, seen in self.model.items() if seen + IDLE <= self.now]
        assert sorted(str(flow.key) for flow in self.table.expire(self.now)) == sorted(map(str, ended))
        for key in ended:
            del self.model[key]

    @precondition(lambda self: self.model)
    @rule()
    def evict(self) -> None:
        evicted = self.table.evict()
        assert evicted is not None and evicted.key == self.oldest()
        del self.model[self.oldest()]

    @invariant()
    def agrees(self) -> None:
        counters = self.table.counters
        assert len(self.table) == len(self.model) <= 4
        assert len(self.model) == counters.created - counters.expired - counters.evicted
        assert self.table.deadline() == (min(self.model.values()) + IDLE if self.model else None)


TestTableAgainstModel = TableAgainstModel.TestCase
TestTableAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
