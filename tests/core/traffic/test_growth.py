"""Rates and totals of several Envoys that restart, and of services that come and go."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from shim.core.traffic.growth import Counted, Growth
from shim.core.traffic.statistics import FIELDS, GROWING, OPEN, REQUESTS, Statistics
from shim.core.traffic.window import WINDOW, Window

NAMES = ("web-80", "db-5432")


def said(**requests: int) -> Statistics:
    found = Statistics()
    for name, count in requests.items():
        found.counts[name.replace("_", "-")] = [count] * GROWING + [1]
    return found


class Looks:
    """What is made of one look at Envoys after another, every 2 s."""

    def __init__(self) -> None:
        self.counted, self.window = Counted(), Window()
        self.now = 0.0

    def look(self, *silent: str, **answers: Statistics) -> Growth:
        growth = Growth(self.now - 2, self.now)
        present = {(0, name) for name in (*answers, *silent)}
        for _ in self.counted.taking(growth, {(0, name): said for name, said in answers.items()}, present):
            pass
        if self.now:
            self.window.add(growth)
        self.now += 2
        return growth

    def requests(self, name: str = "web-80") -> int:
        return (self.window.sums(name) or [0] * len(FIELDS))[REQUESTS]


def test_the_first_look_is_what_the_second_is_compared_with() -> None:
    looks = Looks()
    looks.look(one=said(web_80=100))
    assert looks.requests() == 0
    looks.look(one=said(web_80=110))
    assert (looks.requests(), looks.window.seconds) == (10, 2)
    assert looks.counted.total("web-80") == [110] * GROWING + [1]


def test_several_envoys_are_one() -> None:
    looks = Looks()
    looks.look(one=said(web_80=100), two=said(web_80=1000))
    looks.look(one=said(web_80=101), two=said(web_80=1010))
    assert looks.requests() == 11
    assert looks.counted.total("web-80") == [1111] * GROWING + [2]


def test_an_envoy_that_restarts_begins_at_nothing() -> None:
    looks = Looks()
    looks.look(one=said(web_80=100))
    looks.look(one=said(web_80=7))
    assert looks.requests() == 7


def test_an_envoy_that_comes_later_brings_nothing_of_before() -> None:
    looks = Looks()
    looks.look(one=said(web_80=100))
    looks.look(one=said(web_80=101), two=said(web_80=5000))
    assert looks.requests() == 1


def test_an_envoy_that_does_not_answer_once_loses_nothing() -> None:
    looks = Looks()
    looks.look(one=said(web_80=100))
    looks.look("one")
    assert looks.counted.total("web-80") == [100] * GROWING + [1]
    looks.look(one=said(web_80=130))
    assert looks.requests() == 30


def test_a_service_that_comes_is_counted_from_its_first_request() -> None:
    looks = Looks()
    looks.look(one=said(web_80=100))
    looks.look(one=said(web_80=100, db_5432=3))
    assert looks.requests("db-5432") == 3


def test_the_window_forgets() -> None:
    looks = Looks()
    for count in range(20):
        looks.look(one=said(web_80=10 * count))
    assert (looks.window.seconds, looks.requests()) == (WINDOW, 50)
    for _ in range(6):
        looks.look(one=said(web_80=190))
    assert looks.requests() == 0 and looks.window.sums("web-80") is None


# An Envoy's step: so many requests at a service, or a restart, or a service is taken out and put in again.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]), st.sampled_from([*NAMES, "restart", "again"]), st.integers(0, 99)
    ),
    max_size=8,
)


@given(st.lists(STEPS, max_size=12))
def test_every_request_since_the_first_look_is_counted_once(
    rounds: "list[list[tuple[str, str, int]]]",
) -> None:
    """A restart between two looks loses what came before it; a look just before it loses nothing."""
    looks = Looks()
    envoys = {"one": Counter[str](), "two": Counter[str]()}
    sent: Counter[str] = Counter()
    total: Counter[str] = Counter()

    def look() -> None:
        answers = {
            envoy: said(**{name.replace("-", "_"): count for name, count in has.items()})
            for envoy, has in envoys.items()
        }
        for name, counts in looks.look(**answers).counts.items():
            total[name] += counts[REQUESTS]
            assert counts[OPEN] == 0

    look()
    for steps in rounds:
        for envoy, what, count in steps:
            if what in NAMES:
                envoys[envoy][what] += count
                sent[what] += count
            else:
                look()
                if what == "restart":
                    envoys[envoy].clear()
                else:
                    envoys[envoy].pop(NAMES[0], None)
                look()
        look()
    assert +total == +sent
