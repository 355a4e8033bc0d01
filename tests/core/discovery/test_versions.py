"""Versioned sets: the version follows from the content, and from nothing else."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shim.core.discovery.versions import Resource, VersionedSet


def make_set(**resources: str) -> VersionedSet:
    made = VersionedSet()
    for name, text in resources.items():
        made.put(name, (json.dumps(text).encode(),))
    return made


def test_the_version_does_not_depend_on_the_order_or_on_the_past() -> None:
    one, other = make_set(a="1", b="2"), make_set(b="2", c="3", a="0")
    other.put("a", (b'"', b'1"'))
    other.remove("c")
    assert one.version == other.version
    assert one.sequence < other.sequence


@pytest.mark.parametrize("other", [{}, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": "2"}])
def test_other_content_has_another_version(other: dict[str, str]) -> None:
    assert make_set(**other).version != make_set(a="1", b="2").version


def test_nothing_has_a_version_too_and_it_is_no_empty_text() -> None:
    empty = VersionedSet()
    assert empty.version == "0" * 32
    assert json.loads(bytes(empty.body(empty.version))) == {"version_info": "0" * 32, "resources": []}


def test_a_version_holds_nothing_that_a_suffix_begins_with() -> None:
    assert "~" not in make_set(a="~").version


def test_what_changes_nothing_is_no_change() -> None:
    made = make_set(a="1")
    before = (made.version, made.sequence)
    assert not made.put("a", (b'"1"',))
    assert not made.remove("b")
    assert (made.version, made.sequence) == before


def test_the_answer_holds_every_resource_under_the_version_that_is_asked_for() -> None:
    made = make_set(a="1", b="2")
    assert json.loads(bytes(made.body("v~1"))) == {"version_info": "v~1", "resources": ["1", "2"]}


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 200])
def test_an_answer_in_parts_is_as_long_as_it_says(count: int) -> None:
    made = make_set(**{f"r{number}": "x" * number for number in range(count)})
    body = made.body("v")
    assert [len(document) for document in json.loads(bytes(body))["resources"]] == list(range(count))
    assert len(body) == len(bytes(body)) == sum(map(len, body))
    assert all(body)


def test_an_answer_stays_as_it_was_when_it_was_made() -> None:
    made = make_set(a="1", b="2")
    body = made.body("v")
    made.remove("a")
    made.put("b", (b"3",))
    assert json.loads(bytes(body)) == {"version_info": "v", "resources": ["1", "2"]}


@given(st.dictionaries(st.text(), st.tuples(st.binary(min_size=1), st.binary())), st.randoms())
def test_any_order_of_the_same_resources_has_the_same_version(
    resources: dict[str, Resource], random: Random
) -> None:
    shuffled = list(resources.items())
    random.shuffle(shuffled)
    one, other = VersionedSet(), VersionedSet()
    for name, resource in resources.items():
        one.put(name, resource)
    for name, resource in shuffled:
        other.put(name, resource)
    assert one.version == other.version


class AgainstADict(RuleBasedStateMachine):
    """The set is a dict with a version that tells contents apart and a sequence that counts changes."""

    def __init__(self) -> None:
        super().__init__()
        self.set = VersionedSet()
        self.model: dict[str, Resource] = {}
        self.changes = 0
        self.versions: dict[str, dict[str, Resource]] = {self.set.version: {}}

    @rule(name=st.sampled_from("abc"), value=st.integers(0, 2))
    def put(self, name: str, value: int) -> None:
        text = json.dumps({"name": name, "value": value}).encode()
        resource = (text[:9], text[9:])
        changed = self.model.get(name) != resource
        assert self.set.put(name, resource) is changed
        self.model[name] = resource
        self.changes += changed

    @rule(name=st.sampled_from("abc"))
    def remove(self, name: str) -> None:
        changed = self.model.pop(name, None) is not None
        assert self.set.remove(name) is changed
        self.changes += changed

    @invariant()
    def agrees(self) -> None:
        assert set(self.set) == set(self.model)
        assert len(self.set) == len(self.model)
        assert all(name in self.set for name in self.model)
        assert self.set.sequence == self.changes
        document = json.loads(bytes(self.set.body(self.set.version)))
        assert {r["name"]: r for r in document["resources"]} == {
            name: json.loads(b"".join(resource)) for name, resource in self.model.items()
        }
        assert self.versions.setdefault(self.set.version, dict(self.model)) == self.model


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
