"""The poll decision, as a table of what an Envoy may say next (test_subscription_model.py: in any order)."""

import math

import pytest

from shim.core.discovery.sessions import Sessions
from shim.core.discovery.subscription import (
    HOLD,
    RETRY_FIRST,
    RETRY_LAST,
    Hold,
    Reply,
    Subscription,
)
from shim.core.discovery.versions import Resource, VersionedSet

A, B = (b'{"name":"a"}',), (b'{"name":"b"}',)


class Dialogue:
    """One subscription, seen from Envoy's side; ``say`` is a poll, and what it is told."""

    def __init__(self) -> None:
        self.content = VersionedSet()
        self.subscription = Subscription()
        self.now = 0.0
        self.version = ""  # the last that Envoy accepted whole

    def say(self, version: str) -> Reply | Hold:
        self.version = version
        self.subscription.request(version, self.content.version, self.content.sequence, self.now)
        return self.look()

    def look(self) -> Reply | Hold:
        """What happens to the poll that is open."""
        decision = self.subscription.decide(self.content.version, self.content.sequence, self.now)
        if isinstance(decision, Reply):
            # Else the next poll would look like an ACK and like a NACK.
            assert decision.version != self.version
            self.subscription.served(decision.version, self.content.sequence)
        return decision

    def told(self, version: str) -> str:
        """Says ``version`` and must be answered; returns the answer's."""
        decision = self.say(version)
        assert isinstance(decision, Reply)
        return decision.version

    def wait(self) -> str:
        """Lets the time of a held poll go by; it must then be answered; returns the answer's version."""
        held = self.look()
        assert isinstance(held, Hold)
        self.now = held.until
        answered = self.look()
        assert isinstance(answered, Reply)
        return answered.version


def serving(*resources: Resource) -> Dialogue:
    """A dialogue whose Envoy has accepted these."""
    talk = Dialogue()
    for number, resource in enumerate(resources):
        talk.content.put(str(number), resource)
    talk.say(talk.told(""))
    return talk


def current(talk: Dialogue) -> Reply | Hold:
    return talk.say(talk.content.version)


def refuse(talk: Dialogue) -> Reply | Hold:
    """Envoy says again what it said before."""
    return talk.say(talk.version)


@pytest.mark.parametrize("resources", [[], [A]], ids=["empty", "one"])
def test_the_first_poll_is_answered_at_once_even_with_nothing(resources: list[Resource]) -> None:
    talk = Dialogue()
    for resource in resources:
        talk.content.put("x", resource)
    assert talk.say("") == Reply(talk.content.version)


def test_an_accepted_answer_is_followed_by_silence_until_something_changes() -> None:
    talk = serving(A)
    talk.now = 7.0
    assert talk.look() == Hold(7.0 + HOLD)
    talk.content.put("b", B)
    assert talk.look() == Reply(talk.content.version)


def test_an_accepted_answer_is_known_as_accepted_and_processed() -> None:
    talk = serving(A)
    assert talk.subscription.acked == talk.content.version
    assert talk.subscription.acked_sequence == talk.subscription.processed_sequence == talk.content.sequence
    assert not talk.subscription.nacked


@pytest.mark.parametrize("before", [[], [A]], ids=["first", "later"])
def test_a_refused_answer_is_given_again_after_a_second_under_another_name(before: list[Resource]) -> None:
    talk = serving(*before) if before else Dialogue()
    talk.content.put("bad", B)
    talk.now = 100.0
    first = talk.told(talk.version)
    assert refuse(talk) == Hold(100.0 + RETRY_FIRST)
    assert talk.subscription.nacked
    assert talk.subscription.processed_sequence == talk.content.sequence
    again = talk.wait()
    assert again != first and again.startswith(talk.content.version)


def test_a_retry_that_is_accepted_counts_as_the_content_it_carried() -> None:
    talk = Dialogue()
    talk.content.put("x", A)
    talk.told("")
    refuse(talk)
    assert talk.say(talk.wait()) == Hold(talk.now + HOLD)
    assert talk.subscription.acked == talk.content.version
    assert not talk.subscription.nacked


def test_refusals_are_spaced_by_one_to_thirty_seconds_however_many_there_are() -> None:
    talk = serving(A)
    talk.content.put("bad", B)
    talk.told(talk.version)
    pauses = []
    for _ in range(1500):
        held = refuse(talk)
        assert isinstance(held, Hold)
        pauses.append(held.until - talk.now)
        talk.wait()
    assert pauses[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, RETRY_LAST, RETRY_LAST]
    assert set(pauses[5:]) == {RETRY_LAST}


def test_an_acceptance_begins_the_pauses_anew() -> None:
    talk = serving(A)
    for _ in range(2):
        talk.content.put("bad", B)
        talk.told(talk.version)
        for pause in (1.0, 2.0, 4.0):
            assert refuse(talk) == Hold(talk.now + pause)
            talk.wait()
        talk.content.remove("bad")
        talk.say(talk.told(talk.version))
        assert not talk.subscription.nacked


def test_a_change_ends_the_pause_after_a_refusal() -> None:
    talk = serving(A)
    talk.content.put("bad", B)
    talk.told(talk.version)
    assert isinstance(refuse(talk), Hold)
    talk.content.put("bad", (b'{"name":"better"}',))
    assert isinstance(talk.look(), Reply)


def test_content_that_returns_after_a_refusal_is_sent_although_envoy_names_it() -> None:
    """Envoy runs what was good in the refused answer, whatever version it names."""
    talk = serving(A)
    accepted = talk.version
    talk.content.put("bad", B)
    talk.told(accepted)
    refuse(talk)
    talk.content.remove("bad")
    assert talk.content.version == accepted
    again = talk.look()
    assert isinstance(again, Reply) and again.version != accepted
    assert talk.say(again.version) == Hold(talk.now + HOLD)


@pytest.mark.parametrize("restarted", [False, True])
def test_content_that_returns_while_envoy_names_a_retry_is_sent_under_another_name(restarted: bool) -> None:
    talk = Dialogue()
    talk.content.put("x", A)
    talk.told("")
    refuse(talk)
    retry = talk.wait()
    assert isinstance(talk.say(retry), Hold)
    if restarted:
        talk.subscription = Subscription()
        talk.say(retry)
    talk.content.put("bad", B)
    talk.told(retry)
    refuse(talk)
    talk.content.remove("bad")
    again = talk.look()  # look itself asserts that it is not ``retry``
    assert isinstance(again, Reply)


def test_an_answer_that_was_lost_is_given_again() -> None:
    talk = serving(A)
    talk.content.put("b", B)
    lost = talk.told(talk.version)
    refuse(talk)
    assert talk.wait() != lost


def test_an_answer_that_was_lost_to_a_new_envoy_is_given_again() -> None:
    talk = Dialogue()
    talk.told("")
    refuse(talk)
    assert talk.say(talk.wait()) == Hold(talk.now + HOLD)


def test_a_registrar_that_restarts_with_the_same_content_sends_nothing() -> None:
    talk = serving(A, B)
    talk.subscription = Subscription()
    assert current(talk) == Hold(talk.now + HOLD)
    assert talk.subscription.processed_sequence == talk.content.sequence


@pytest.mark.parametrize("suffix", ["", "~1", "~17"])
def test_a_registrar_that_restarts_knows_its_predecessors_retries(suffix: str) -> None:
    talk = serving(A)
    talk.subscription = Subscription()
    assert talk.say(talk.content.version + suffix) == Hold(talk.now + HOLD)
    talk.content.put("b", B)
    assert talk.look() == Reply(talk.content.version)


@pytest.mark.parametrize("version", ["x", "~", "~1", "0", "\ud800", "v" * 100_000])
def test_a_version_that_was_never_ours_is_answered_at_once(version: str) -> None:
    assert isinstance(serving(A).say(version), Reply)


def test_an_envoy_that_starts_again_in_an_old_session_is_answered_at_once() -> None:
    assert isinstance(serving(A).say(""), Reply)


def test_a_change_and_its_opposite_between_two_polls_are_nothing_to_tell() -> None:
    talk = serving(A)
    talk.content.put("b", B)
    talk.content.remove("b")
    assert current(talk) == Hold(talk.now + HOLD)
    assert talk.subscription.processed_sequence == talk.content.sequence


def test_a_session_lives_as_long_as_any_of_its_connections() -> None:
    sessions = Sessions()
    one = sessions.poll("a", "", 1, 0.0)
    assert sessions.poll("a", "127.0.0.1:9901", 2, 1.0) is one
    assert (one.since, one.admin) == (0.0, "127.0.0.1:9901")
    assert not sessions.closed(1)
    assert list(sessions) == [one]
    assert sessions.closed(2)
    assert not sessions.closed(2)
    assert len(sessions) == 0
    assert sessions.poll("a", "", 3, 2.0) is not one


def test_a_connection_that_speaks_for_another_node_no_longer_speaks_for_the_first() -> None:
    sessions = Sessions()
    sessions.poll("a", "", 1, 0.0)
    assert [sessions.poll("b", "", 1, 0.0).node] == [session.node for session in sessions] == ["b"]


def test_without_an_envoy_everything_counts_as_processed_and_a_new_one_must_say_so_first() -> None:
    sessions = Sessions()
    assert sessions.processed() == (math.inf, math.inf)
    session = sessions.poll("a", "", 1, 0.0)
    assert sessions.processed() == (-1, -1)
    session.clusters.request("v", "v", 5, 0.0)
    assert sessions.processed() == (5, -1)
    sessions.poll("b", "", 2, 0.0).clusters.request("v", "v", 4, 0.0)
    assert sessions.processed() == (4, -1)
