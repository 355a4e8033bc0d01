"""What the soak excuses, and what it does not."""

import pytest

from tests.soak.journal import (
    CONTAINER,
    DOCKERD,
    ENVOY,
    NAMELESS,
    PROMISE,
    REGISTRAR,
    SHIM,
    STALE,
    UNEXPECTED,
    WRONG,
    Endpoint,
    Journal,
    Miss,
    Outage,
)

WEB = Endpoint("http", "127.0.0.1", 8100)
OTHER = Endpoint("http", "127.0.0.1", 8101)
UDP = Endpoint("udp", "127.0.0.1", 8102)


@pytest.fixture
def journal() -> Journal:
    """Each endpoint has had its container since second 0."""
    made = Journal()
    for endpoint in (WEB, OTHER, UDP):
        made.occupy(endpoint, f"{endpoint.port}", 0)
    return made


def failed(endpoint: Endpoint, at: float, outcome: str = "refused", word: str | None = None) -> Miss:
    return Miss(endpoint, at, at + 0.1, outcome, word)


def test_a_port_that_nothing_has_touched_may_not_fail(journal: Journal) -> None:
    assert journal.judge(failed(WEB, 10)) == UNEXPECTED


@pytest.mark.parametrize("cause", [CONTAINER, SHIM])
def test_an_event_excuses_its_own_ports_from_its_beginning_until_a_second_after_it(
    journal: Journal, cause: str
) -> None:
    window = journal.open(cause, 10, frozenset({WEB}))
    window.mended = 12
    expected = {9: UNEXPECTED, 9.95: cause, 11: cause, 12 + PROMISE: cause, 12.01 + PROMISE: UNEXPECTED}
    assert {at: journal.judge(failed(WEB, at)) for at in expected} == expected
    assert journal.judge(failed(OTHER, 11)) == UNEXPECTED


def test_an_envoy_that_is_away_excuses_all_but_udp(journal: Journal) -> None:
    journal.open(ENVOY, 10)
    assert [journal.judge(failed(endpoint, 20)) for endpoint in (WEB, UDP)] == [ENVOY, UNEXPECTED]


def test_a_dockerd_that_goes_excuses_a_container_that_it_had_only_just_started(journal: Journal) -> None:
    journal.open(CONTAINER, 10, frozenset({WEB})).mended = 11
    journal.open(CONTAINER, 5, frozenset({OTHER})).mended = 6
    journal.dockerd_goes(11.5).mended = 15
    expected = {11: CONTAINER, 13: NAMELESS, 15 + PROMISE: NAMELESS, 15.01 + PROMISE: UNEXPECTED}
    assert {at: journal.judge(failed(WEB, at)) for at in expected} == expected
    assert journal.judge(failed(OTHER, 13)) == UNEXPECTED


def test_dockerd_excuses_all_only_while_it_comes_back(journal: Journal) -> None:
    journal.open(DOCKERD, 10).mended = 11
    judged = [journal.judge(failed(UDP, at)) for at in (9, 11.5, 12.5)]
    assert judged == [UNEXPECTED, DOCKERD, UNEXPECTED]


def test_a_registrar_that_is_away_excuses_nothing_by_itself(journal: Journal) -> None:
    journal.registrar_goes(10)
    assert journal.judge(failed(WEB, 11)) == UNEXPECTED


def test_a_registrar_that_is_away_prolongs_what_changed_meanwhile(journal: Journal) -> None:
    absence = journal.registrar_goes(10)
    journal.open(CONTAINER, 11, frozenset({WEB})).mended = 12
    absence.mended = 20
    judged = [journal.judge(failed(WEB, at)) for at in (12.5, 20.5, 21.5)]
    assert judged == [CONTAINER, REGISTRAR, UNEXPECTED]


def test_another_containers_answer_is_never_excused(journal: Journal) -> None:
    journal.open(CONTAINER, 10, frozenset({WEB}))
    journal.open(ENVOY, 10)
    assert journal.judge(failed(WEB, 11, "200", "8101")) == WRONG


def test_another_containers_answer_from_what_went_without_the_registrar_is_counted_apart(
    journal: Journal,
) -> None:
    journal.registrar_goes(10)
    journal.open(CONTAINER, 11, frozenset({WEB})).mended = 12
    journal.vacate(WEB, 12)
    assert journal.judge(failed(WEB, 13, "200", "8101")) == STALE
    assert journal.judge(failed(OTHER, 13, "200", "8100")) == WRONG


def test_an_answer_of_the_container_that_has_just_gone_or_come_is_no_failure(journal: Journal) -> None:
    journal.occupy(WEB, "next", 10)
    assert journal.judge(failed(WEB, 9.95, "200", "8100")) is None
    assert journal.judge(failed(WEB, 9.95, "200", "next")) is None
    assert journal.judge(failed(WEB, 11, "200", "8100")) == WRONG


def test_where_nobody_is_to_answer_only_a_refusal_is_right(journal: Journal) -> None:
    journal.vacate(WEB, 10)
    assert journal.judge(failed(WEB, 11)) is None
    assert journal.judge(failed(WEB, 11, "503")) == UNEXPECTED
    assert journal.judge(failed(WEB, 11, "200", "8100")) == WRONG


def test_docker_is_excused_for_a_port_that_was_let_go_without_the_registrar(journal: Journal) -> None:
    journal.registrar_goes(10).mended = 12
    assert journal.left_behind((9, 10.5), 11)
    assert journal.left_behind((11, 11.5), 12.5)  # it had only just come back
    assert not journal.left_behind((11, 11.5), 13.5)
    assert not journal.left_behind((8, 9), 11)  # let go in time


def test_recovery_counts_from_when_the_last_cause_had_gone(journal: Journal) -> None:
    journal.open(ENVOY, 10).mended = 12
    assert journal.recovery(Outage(WEB, 10.1, 12.5)) == (ENVOY, 0.5)
    journal.open(CONTAINER, 11, frozenset({WEB}))
    assert journal.recovery(Outage(WEB, 10.1, 12.5)) == (ENVOY, 0)
