"""Batches without sockets: what may be sent as one large datagram, and what a key is."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.relay.envelope import MAX_SEGMENTED, Layout, runs
from shim.relay.mmsg import SLOTS


@pytest.mark.parametrize(
    ("lengths", "cut"),
    [
        ([], []),
        ([5], [(0, 1)]),
        ([5, 5, 5], [(0, 3)]),
        ([5, 5, 3], [(0, 3)]),  # the last may be smaller
        ([5, 3, 5], [(0, 2), (2, 1)]),
        ([3, 5], [(0, 1), (1, 1)]),
        ([5, 5, 0, 0], [(0, 2), (2, 1), (3, 1)]),  # an empty datagram cannot be a segment
        ([101, 101], [(0, 1), (1, 1)]),  # above the largest
    ],
)
def test_runs(lengths: list[int], cut: list[tuple[int, int]]) -> None:
    assert list(runs(lengths, 100)) == cut


@given(
    st.lists(st.sampled_from([0, 1, 7, 900, 1200, 1472, 1473, 65_507]), max_size=SLOTS), st.integers(0, 1472)
)
def test_runs_cover_everything_once_and_keep_the_kernels_rules(lengths: list[int], largest: int) -> None:
    at = 0
    for start, count in runs(lengths, largest):
        assert start == at and count >= 1
        at += count
        run = lengths[start:at]
        if count > 1:
            assert 0 < run[0] <= largest
            assert set(run[:-1]) == {run[0]} and 0 < run[-1] <= run[0]
            assert sum(run) <= MAX_SEGMENTED
    assert at == len(lengths)


def test_an_ipv4_key_lacks_nothing_after_the_option_and_is_completed_before_it() -> None:
    layout = Layout(socket.AF_INET)
    local, sent_to, name = bytes((127, 0, 0, 1)), bytes((127, 0, 0, 2)), bytes(range(16))
    assert layout.canonical(local + sent_to + name) == local + sent_to + name
    assert layout.canonical(bytes(4) + sent_to + name) == sent_to + sent_to + name


@pytest.mark.parametrize("local", [bytes(16), b"\xff\x02" + bytes(14)])
def test_no_reply_is_sent_from_an_address_that_cannot_be_a_source(local: bytes) -> None:
    layout = Layout(socket.AF_INET6)
    head = layout.key.stop - 16
    assert layout.envelope(bytes(head) + local).control == b""
    assert layout.envelope(bytes(head) + bytes(15) + b"\x01").control
