"""Every fuzz target on its seeds and on some mutations of them: the same ones each time."""

from itertools import islice
from random import Random

import pytest

from tests.fuzz.mutate import mutations
from tests.fuzz.targets import TARGETS

# What starts an event loop or a whole world for every input is slower.
SLOW = {"http", "registration", "registry", "decision", "config", "labels"}


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_an_invariant(name: str) -> None:
    target = TARGETS[name]
    for data in islice(mutations(target.seeds, Random(20)), 200 if name in SLOW else 2000):
        target.run(data)


def test_mutations_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    one, same, other = (list(islice(mutations([b"abc"], Random(n)), 50)) for n in (1, 1, 2))
    assert one == same != other
    assert len(set(one)) > 40
