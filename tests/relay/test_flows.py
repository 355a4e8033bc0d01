"""The UDP client table against tables of cases, and against a model that is too simple to be wrong."""

from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shim.relay.flows import ANSWERED, KNOWN, NEW, SHARE, UNANSWERED, Counters, Flow, FlowTable

IDLE = 90.0
KEYS = st.integers(0, 25)


def make_table(*keys: str, limit: int = 10) -> FlowTable[Flow]:
    """A table whose flows were added at 0, 1, 2 ... seconds; "a!": and answered, "a!!": and back again."""
    table: FlowTable[Flow] = FlowTable(limit, IDLE)
    for now, key in enumerate(keys):
        new = Flow(key.rstrip("!"))
        table.add(new, now)
        if "!" in key:
            table.answered(new, now)
        if "!!" in key:
            table.asked(new, now)
    return table


def flow(table: FlowTable[Flow], key: object) -> Flow:
    found = table.get(key)
    assert found is not None
    return found


def keys(flows: list[Flow]) -> list[object]:
    return [flow.key for flow in flows]


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        (9.99, ""),
        (10.0, "a"),
        (13.5, "a d"),
        (90.99, "a d"),
        (91.0, "a d b"),
        (1000.0, "a d b c"),
    ],
)
def test_a_flow_ends_when_its_time_is_up_and_not_before(now: float, ended: str) -> None:
    table = make_table("a", "b!", "c!!", "d")
    assert sorted(map(str, keys(table.expire(now)))) == sorted(ended.split())
    assert len(table) == 4 - len(ended.split())
    assert table.counters.expired == len(ended.split())


def test_a_table_with_less_time_than_the_unanswered_have_gives_nobody_more() -> None:
    table: FlowTable[Flow] = FlowTable(10, 0.5)
    table.add(Flow("a"), 0.0)
    assert table.deadline() == table.patience == 0.5


@pytest.mark.parametrize(
    ("happens", "kind"),
    [
        ("", NEW),
        ("asked", NEW),
        ("asked asked", NEW),
        ("answered", ANSWERED),
        ("asked answered answered", ANSWERED),
        ("answered asked", KNOWN),
        ("answered asked answered asked", KNOWN),
    ],
)
def test_a_flow_is_known_once_its_client_has_sent_again_after_an_answer(happens: str, kind: int) -> None:
    table = make_table("a")
    for now, what in enumerate(happens.split()):
        getattr(table, what)(flow(table, "a"), now)
    assert flow(table, "a").kind == kind


def test_only_a_known_flow_may_go_unmentioned_for_the_rest_of_a_moment() -> None:
    table = make_table("a", "b!", "c!!")
    for key in "abc":
        table.answered(flow(table, key), 5.0)
    assert [flow(table, key).noted for key in "abc"] == [None, None, 5.0]


@pytest.mark.parametrize("mark", ["!", "!!"])
def test_a_touched_flow_lives_on_and_goes_to_the_end_of_the_queue(mark: str) -> None:
    table = make_table("a" + mark, "b" + mark)
    table.answered(flow(table, "a"), 60.0)
    assert keys(table.expire(120.0)) == ["b"]
    assert table.deadline() == 150.0
    assert keys(table.expire(150.0)) == ["a"]


def test_the_deadline_is_the_oldest_flows_and_none_without_flows() -> None:
    table = make_table("a!!", "b!", "c")
    for deadline in (12.0, 90.0, 91.0):
        assert table.deadline() == deadline
        table.expire(deadline)
    assert table.deadline() is None


@pytest.mark.parametrize(
    ("there", "order"),
    [
        ("a b c", "abc"),
        ("a!! b! c d! e f!!", "cebdaf"),
        # Of eight each kind may keep one; of seven none.
        ("a!! b!! c!! d!! e!! f!! g! h", "ahgbcdef"),
    ],
)
def test_the_unanswered_go_first_and_the_known_last_but_no_kind_altogether(there: str, order: str) -> None:
    table = make_table(*there.split())
    assert "".join(str(gone.key) for _ in range(len(table)) if (gone := table.evict())) == order


def test_a_full_table_makes_room_for_one() -> None:
    table = make_table("a!", "b!", limit=2)
    table.answered(flow(table, "a"), 2.0)
    assert keys(table.make_room()) == ["b"]
    assert table.make_room() == []
    table.add(Flow("c"), 3.0)
    assert (table.counters.created, table.counters.evicted) == (3, 1)


def test_a_table_above_its_limit_shrinks_by_one_with_each_newcomer() -> None:
    table = make_table("a", "b", "c!", "d!!", "e!!", "f!!")
    table.limit = 3
    assert keys(table.make_room()) == ["a", "b"]
    table.add(Flow("g"), 7.0)
    assert keys(table.make_room()) == ["g", "c"]


def test_a_known_flow_goes_for_a_newcomer_only() -> None:
    table = make_table("a!!", "b!!", "c!!")
    table.limit = 1
    assert keys(table.make_room()) == ["a"]


def test_newcomers_have_an_eighth_of_a_table_full_of_known_flows() -> None:
    table = make_table(*(f"{n}!!" for n in range(80)), limit=80)
    for number in range(1000):
        table.make_room()
        table.add(Flow(f"flood {number}"), 100.0)
    assert len(table) == 80
    # The one with which they have more than that stays in the place of whose turn it was before.
    assert sum(table.get(str(n)) is not None for n in range(80)) == 80 - 80 // SHARE - 1


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


class Modelled(NamedTuple):
    kind: int
    seen: float


class TableAgainstModel(RuleBasedStateMachine):
    """The table does what a plain dict of keys, in the order of use and searched in full, would do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table: FlowTable[Flow] = FlowTable(20, IDLE)
        self.model: dict[int, Modelled] = {}

    def end(self, key: int) -> float:
        kind, seen = self.model[key]
        return seen + (UNANSWERED if kind == NEW else IDLE)

    def next_victim(self) -> int:
        by_kind = [
            [key for key, found in self.model.items() if found.kind == kind]
            for kind in (NEW, ANSWERED, KNOWN)
        ]
        return next(found[0] for found in by_kind if len(found) > len(self.model) // SHARE)

    def make_way(self) -> int:
        victim = self.next_victim()
        del self.model[victim]
        return victim

    def used(self, key: int, kind: int) -> None:
        self.model.pop(key, None)
        self.model[key] = Modelled(kind, self.now)

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.integers(1, 20))
    def others_take_ports_or_give_them_back(self, limit: int) -> None:
        self.table.limit = limit

    @rule(key=KEYS)
    def request(self, key: int) -> None:
        known = self.table.get(key)
        assert (known is not None) == (key in self.model)
        if known is not None:
            self.table.asked(known, self.now)
            self.used(key, NEW if self.model[key].kind == NEW else KNOWN)
            return
        excess = len(self.model) + 1 - self.table.limit
        expected = [self.make_way()] if excess > 0 else []
        if excess > 1 and self.model and self.model[self.next_victim()].kind != KNOWN:
            expected.append(self.make_way())
        assert keys(self.table.make_room()) == expected
        self.table.add(Flow(key), self.now)
        self.used(key, NEW)

    @rule(key=KEYS)
    def reply(self, key: int) -> None:
        known = self.table.get(key)
        if known is not None:
            self.table.answered(known, self.now)
            self.used(key, max(ANSWERED, self.model[key].kind))

    @rule(key=KEYS)
    def exchange(self, key: int) -> None:
        for happens in (self.request, self.reply, self.request):
            happens(key)

    @rule()
    def expire(self) -> None:
        ended = [key for key in self.model if self.end(key) <= self.now]
        assert sorted(str(flow.key) for flow in self.table.expire(self.now)) == sorted(map(str, ended))
        for key in ended:
            del self.model[key]

    @precondition(lambda self: self.model)
    @rule()
    def evict(self) -> None:
        evicted = self.table.evict()
        assert evicted is not None and evicted.key == self.make_way()

    @invariant()
    def agrees(self) -> None:
        counters = self.table.counters
        assert len(self.table) == len(self.model)
        assert len(self.model) == counters.created - counters.expired - counters.evicted
        assert self.table.deadline() == min(map(self.end, self.model), default=None)
        for key, found in self.model.items():
            assert flow(self.table, key).kind == found.kind
            assert flow(self.table, key).noted in (None, found.seen)


TestTableAgainstModel = TableAgainstModel.TestCase
TestTableAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
