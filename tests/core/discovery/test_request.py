"""Discovery requests: what is taken from them, and that it is small whatever they hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shim.core.discovery.request as question_module
from shim.core.discovery.request import (
    ADMIN_LIMIT,
    KNOWN_LIMIT,
    VERSION_LIMIT,
    DiscoveryRequest,
    RequestReader,
    parse_request,
)

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["id", "metadata"]), inner),
)


def test_what_an_envoy_of_ours_says_is_understood() -> None:
    metadata = {"envoy-docker-shim": {"admin": "127.0.0.1:9901"}}
    build = {"version": {"major_number": 1, "minor_number": 40}, "metadata": {"build.type": "RELEASE"}}
    node = {"id": "host1", "metadata": metadata, "user_agent_build_version": build}
    document = {"node": node, "version_info": "v", "resource_names": ["a"]}
    assert parse_request(json.dumps(document).encode()) == DiscoveryRequest(
        "host1", "v", "127.0.0.1:9901", frozenset(["a"]), "1.40.0"
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
        parse_request(body)


def test_what_is_kept_of_a_request_is_short() -> None:
    long = "x" * 10_000
    metadata = {"envoy-docker-shim": {"admin": long}}
    document = {"node": {"id": long, "metadata": metadata}, "version_info": long}
    question = parse_request(json.dumps(document).encode())
    assert len(question.node) < 100
    assert question.version == long[:VERSION_LIMIT]
    assert question.admin == ""


def test_an_admin_address_is_one_line() -> None:
    """It is logged."""
    metadata = {"envoy-docker-shim": {"admin": "127.0.0.1:1\n\x1b[2J"}}
    request = parse_request(json.dumps({"node": {"id": "a", "metadata": metadata}}).encode())
    assert request.admin.isprintable()


@given(node=JSON, rest=st.dictionaries(st.sampled_from(["version_info", "resource_names", "x"]), JSON))
def test_any_json_is_a_question_or_none(node: Any, rest: dict[str, Any]) -> None:
    try:
        question = parse_request(json.dumps({**rest, "node": node}).encode())
    except ValueError:
        return
    assert question.node.isprintable()
    assert len(question.version) <= VERSION_LIMIT
    assert len(question.admin) <= ADMIN_LIMIT


# -- reading a node once -------------------------------------------------------------------------------


def polls(version: str, node: object, **more: object) -> bytes:
    head = {"version_info": version} if version else {}
    return json.dumps({**head, "node": node, **more}).encode()


NODES = st.fixed_dictionaries({"id": st.text(min_size=1)}) | st.dictionaries(st.text(), st.text())


@given(st.lists(st.tuples(st.text(), NODES, st.sampled_from(["listeners", "clusters"])), max_size=8))
def test_a_reader_reads_as_if_each_were_the_first(asked: list[tuple[str, dict[str, str], str]]) -> None:
    reader = RequestReader()
    for version, node, kind in asked * 2:
        body = polls(version, node, type_url=kind)
        try:
            expected = parse_request(body)
        except ValueError:
            with pytest.raises(ValueError):
                reader.read(body)
        else:
            assert reader.read(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"node":{"id":"a"},"version_info":"late"}',
        b'{"version_info":"first","node":{"id":"a"},"version_info":"last"}',
        b'{"type_url":"x","version_info":"v","node":{"id":"a"}}',
        b'{"version_info":"\\"node\\":","node":{"id":"a"}}',
        b'{"version_info":"v" , "node":{"id":"a"},"resource_names":["x"]}',
        b'{"node":{"id":"a"}}',
    ],
)
def test_any_order_is_understood(body: bytes) -> None:
    reader = RequestReader()
    assert reader.read(body) == reader.read(body) == parse_request(body)


def test_what_a_node_says_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = RequestReader()
    node = {"id": "one", "extensions": ["x" * 100] * 600}
    reader.read(polls("1", node))
    monkeypatch.setattr(question_module, "parse_request", None)
    assert reader.read(polls("2", node)) == DiscoveryRequest("one", "2", "", frozenset())


def test_only_so_many_are_kept() -> None:
    reader = RequestReader()
    for number in range(3 * KNOWN_LIMIT):
        assert reader.read(polls("1", {"id": str(number)})).node == str(number)
    assert len(reader._known) == KNOWN_LIMIT
