"""Discovery requests: what is taken from them, and that it is small whatever they hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.question import ADMIN_LIMIT, VERSION_LIMIT, Question, question_of

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["id", "metadata"]), inner),
)


def test_what_an_envoy_of_ours_says_is_understood() -> None:
    metadata = {"envoy-docker-shim": {"admin": "127.0.0.1:9901"}}
    document = {"node": {"id": "host1", "metadata": metadata}, "version_info": "v", "resource_names": ["a"]}
    assert question_of(json.dumps(document).encode()) == Question(
        "host1", "v", "127.0.0.1:9901", frozenset(["a"])
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b'{"node": 1}',
        b'{"node": {"id": 1}}',
        b'{"node": {"id": "\\u0000 "}}',
        b'{"node": {"id": "a"}, "version_info": 1}',
    ],
)
def test_what_is_no_request_is_refused_with_a_short_reason(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(?s:.{1,200})$"):
        question_of(body)


def test_what_is_kept_of_a_request_is_short() -> None:
    long = "x" * 10_000
    metadata = {"envoy-docker-shim": {"admin": long}}
    document = {"node": {"id": long, "metadata": metadata}, "version_info": long}
    question = question_of(json.dumps(document).encode())
    assert len(question.node) < 100
    assert question.version == long[:VERSION_LIMIT]
    assert question.admin == ""


@given(node=JSON, rest=st.dictionaries(st.sampled_from(["version_info", "resource_names", "x"]), JSON))
def test_any_json_is_a_question_or_none(node: Any, rest: dict[str, Any]) -> None:
    try:
        question = question_of(json.dumps({**rest, "node": node}).encode())
    except ValueError:
        return
    assert question.node.isprintable()
    assert len(question.version) <= VERSION_LIMIT
    assert len(question.admin) <= ADMIN_LIMIT
