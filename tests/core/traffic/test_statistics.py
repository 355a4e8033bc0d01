"""How an Envoy's answer about its traffic is read: whatever it says, and whatever else is in it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from shim.core.envoy.bootstrap import ADMIN_PAGES, STAT_PATTERNS, STAT_PREFIXES
from shim.core.traffic.statistics import FIELDS, FILTER, OPEN, PIECE, REQUESTS, Statistics
from shim.registrar.envoy_figures import PAGE

# As Envoy 1.40 wrote it.
ANSWER = b"""\
cluster.web-dev-8080.upstream_cx_connect_fail: 2
http.web-dev-8080.downstream_cx_rx_bytes_total: 840
http.web-dev-8080.downstream_cx_tx_bytes_total: 1290
http.web-dev-8080.downstream_rq_5xx: 1
http.web-dev-8080.downstream_rq_completed: 9
http.web-dev-8080.downstream_rq_total: 10
listener.web-dev-8080.downstream_cx_active: 3
listener.web-dev-8080.downstream_cx_total: 5
tcp.web-dev-8080.downstream_cx_rx_bytes_total: 60
tcp.web-dev-8080.downstream_cx_tx_bytes_total: 10
http.web-dev-8080.downstream_rq_time:
  totals=0,0.1:4, 1,0.1:3, 200,10:2
  intervals=
  summary=P0(nan,0) P25(nan,0)
"""


def read(answer: bytes, *clusters: str) -> Statistics:
    found = Statistics()
    for _ in found.reading(answer, clusters):
        pass
    return found


def test_a_ports_numbers_are_added_up_over_what_it_serves() -> None:
    found = read(ANSWER, "web-dev-8080")
    numbers = dict(zip(FIELDS, found.counts["web-dev-8080"], strict=True))
    assert numbers == {
        "requests": 10,
        "answered": 9,
        "failed": 1,
        "connects": 5,
        "received": 900,
        "sent": 1300,
        "unreachable": 2,
        "open": 3,
    }
    assert found.latencies == {"web-dev-8080": b"0,0.1:4, 1,0.1:3, 200,10:2"}


def test_what_is_no_services_is_left_out() -> None:
    found = read(ANSWER, "web-dev-8081")
    assert (found.counts, found.latencies) == ({}, {})


def test_the_page_is_one_that_envoys_admin_answers_with_what_envoy_keeps() -> None:
    assert re.fullmatch(rf"/({ADMIN_PAGES})(\?.*)?", PAGE)
    wanted = re.compile(FILTER)
    for line in ANSWER.decode().splitlines():
        name = line.partition(":")[0]
        if not name.startswith(" "):
            assert wanted.search(name), name
            kept = any(name.startswith(prefix) for prefix in STAT_PREFIXES)
            assert kept or any(re.fullmatch(pattern, name) for pattern in STAT_PATTERNS), name
    assert not wanted.search("http.web-dev-8080.downstream_rq_total_more")


@given(st.binary() | st.lists(st.sampled_from(ANSWER.split(b"\n")) | st.binary(max_size=40)).map(b"\n".join))
def test_whatever_comes_is_read_to_numbers_of_known_services(answer: bytes) -> None:
    found = read(answer, "web-dev-8080")
    assert set(found.counts) <= {"web-dev-8080"} and set(found.latencies) <= {"web-dev-8080"}
    assert all(len(counts) == len(FIELDS) and min(counts) >= 0 for counts in found.counts.values())


def test_a_long_answer_is_read_in_steps() -> None:
    lines = b"".join(b"http.web-%d.downstream_rq_total: 7\n" % number for number in range(10 * PIECE))
    names = [f"web-{number}" for number in range(10 * PIECE)]
    found = Statistics()
    steps = sum(1 for _ in found.reading(lines, set(names)))
    assert steps == 10
    assert all(found.counts[name][REQUESTS] == 7 and found.counts[name][OPEN] == 0 for name in names)
