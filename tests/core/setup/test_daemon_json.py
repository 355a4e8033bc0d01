"""dockerd's settings file: ours go in and out again, and nothing else of it changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.setup.daemon_json import ABSENT, Change, changes, merge, put, unmerge, wanted
from shim.core.setup.json_text import BrokenJson, parse

FILE = "/usr/local/bin/envoy-docker-shim"
WANTED = wanted(FILE, strict=False)


def merged(text: str, *, strict: bool = False) -> str:
    return merge(text, changes(text, wanted(FILE, strict=strict)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f'{{\n  "userland-proxy-path": "{FILE}"\n}}\n'),
        (" \n", f'{{\n  "userland-proxy-path": "{FILE}"\n}}\n'),
        ("{}\n", f'{{\n  "userland-proxy-path": "{FILE}"\n}}\n'),
        ('{"debug": true}', f'{{"debug": true, "userland-proxy-path": "{FILE}"}}'),
        (
            '{\n\t"b": [1,\n2],\n\t"a" : {"x": "}"}\n}',
            f'{{\n\t"b": [1,\n2],\n\t"a" : {{"x": "}}"}},\n\t"userland-proxy-path": "{FILE}"\n}}',
        ),
        (
            '{\r\n    "a": 1\r\n}\r\n',
            f'{{\r\n    "a": 1,\r\n    "userland-proxy-path": "{FILE}"\r\n}}\r\n',
        ),
        ('{"userland-proxy-path": "/x", "z": 1}', f'{{"userland-proxy-path": "{FILE}", "z": 1}}'),
        (
            '{ "userland-proxy": false }',
            f'{{ "userland-proxy": true, "userland-proxy-path": "{FILE}" }}',
        ),
        ('\ufeff{"a": 1}', f'\ufeff{{"a": 1,"userland-proxy-path": "{FILE}"}}'),
    ],
)
def test_ours_go_in_as_the_file_is_written(before: str, after: str) -> None:
    found = merged(before)
    assert parse(found) == parse(after)
    assert found.replace(", ", ",") == after.replace(", ", ",")


def test_the_strict_way_takes_dockers_rules_away_too() -> None:
    assert parse(merged('{"iptables": true}', strict=True)) == {
        "iptables": False,
        "userland-proxy-path": FILE,
        "ip6tables": False,
    }


def test_nothing_changes_where_all_is_there() -> None:
    text = merged('{"a":1}')
    assert changes(text, WANTED) == []
    assert merge(text, []) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n  "a": 1,\n}', "line 3, column 1: .*'}'"),
        ('{\n  "a": 1\n  "b": 2\n}', "line 3, column 3: .*'\"b\": 2'"),
        ('{"a": 1} // why', "line 1, column 10: "),
        ("[1]", "line 1: it must be an object"),
        ("[" * 100000, "line 1"),
    ],
)
def test_what_is_no_json_is_refused_with_the_line_that_hurts(text: str, told: str) -> None:
    with pytest.raises(BrokenJson, match=told):
        changes(text, WANTED)


def test_what_somebody_changed_since_stays_and_is_named() -> None:
    made = changes('{"userland-proxy": false}', WANTED)
    text = merge('{"userland-proxy": false}', made)
    edited = put(put(text, "userland-proxy-path", "/mine"), "debug", True)
    back, others = unmerge(edited, made)
    assert others == ["userland-proxy-path"]
    assert parse(back) == {"userland-proxy": False, "userland-proxy-path": "/mine", "debug": True}


def test_a_change_is_told_with_what_it_was() -> None:
    assert str(Change("iptables", ABSENT, False)) == '"iptables": false'
    assert str(Change("userland-proxy-path", "/x", FILE)) == f'"userland-proxy-path": "{FILE}" (it was "/x")'


KEYS = st.sampled_from(["userland-proxy-path", "userland-proxy", "iptables", "live-restore", "a", 'q"}{', ""])
# All that can go wrong in a text, and little else.
WORDS = st.text('a"\\{}[],:\né', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS | st.just(FILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """An object as people and programs write it."""
    style: dict[str, Any] = draw(
        st.sampled_from(
            [{}, {"indent": 2}, {"indent": "\t"}, {"indent": 0}, {"separators": (",", ":")}, {"indent": 7}]
        )
    )
    text = json.dumps(draw(OBJECTS), ensure_ascii=draw(st.booleans()), **style)
    spaces = st.text(" \n\t\r", max_size=3)
    return draw(st.sampled_from(["", "\ufeff"])) + draw(spaces) + text + draw(spaces)


@given(texts(), st.booleans())
def test_in_and_out_again_means_what_it_meant(text: str, strict: bool) -> None:
    made = changes(text, wanted(FILE, strict=strict))
    there = merge(text, made)
    expected = {**parse(text), **{change.key: change.after for change in made}}
    assert parse(there) == expected
    assert list(parse(there))[: len(parse(text))] == list(parse(text))  # in their order
    assert changes(there, wanted(FILE, strict=strict)) == []
    back, others = unmerge(there, made)
    assert (parse(back), others) == (parse(text), [])


@given(texts(), KEYS, VALUES)
def test_other_members_keep_every_byte(text: str, key: str, value: Any) -> None:
    there = put(text, key, value)
    if key not in parse(text) and value != ABSENT and parse(text):
        # Something is put in at one place, and that is all.
        start = next((i for i, (a, b) in enumerate(zip(text, there, strict=False)) if a != b), len(text))
        assert text[start:] == there[len(there) - (len(text) - start) :]
        assert put(there, key, ABSENT) == text


@given(st.text(alphabet='{}[]",:\\ \n\ufefftrue12a', max_size=30))
def test_any_text_is_taken_or_refused_with_a_line(text: str) -> None:
    try:
        there = merged(text)
    except BrokenJson as error:
        assert str(error).startswith("line ")
    else:
        assert parse(there)["userland-proxy-path"] == FILE
