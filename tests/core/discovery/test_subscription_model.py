"""The poll decision against a model Envoy that refuses, loses and forgets in any order."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shim.core.discovery.subscription import RETRY_FIRST, RETRY_LAST, Hold, Reply, Subscription
from tests.builders import ModelEnvoy
from tests.core.discovery.test_subscription import Dialogue

NOTHING: Callable[[str], bool] = frozenset[str]().__contains__


class AnyDialogue(RuleBasedStateMachine):
    """An Envoy that refuses some resources, loses answers and restarts ends up with what we have."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Dialogue()
        self.envoy = ModelEnvoy()
        self.bad = {"c"}
        self.lose = False
        self.sent: list[tuple[float, int]] = []  # (when, sequence) of what was sent after a refusal
        self.poll()

    def poll(self) -> None:
        """As Envoy does: polls again at once after each answer, until it is held."""
        decision = self.talk.say(self.envoy.version)
        for _ in range(20):
            if isinstance(decision, Hold):
                return
            if self.talk.subscription.nacked:
                self.sent.append((self.talk.now, self.talk.content.sequence))
            if not self.lose:
                self.envoy.receive(bytes(self.talk.content.body(decision.version)), self.bad.__contains__)
            self.lose = False
            decision = self.talk.say(self.envoy.version)
        raise AssertionError("answered without end")

    def look(self) -> None:
        decision = self.talk.look()
        if isinstance(decision, Reply):
            # The poll that was open had this answer coming.
            self.envoy.receive(bytes(self.talk.content.body(decision.version)), self.bad.__contains__)
            self.poll()

    @rule(name=st.sampled_from("abc"), value=st.integers(0, 1))
    def put(self, name: str, value: int) -> None:
        self.talk.content.put(name, (f'{{"name":"{name}","value":{value}}}'.encode(),))
        self.look()

    @rule(name=st.sampled_from("abc"))
    def remove(self, name: str) -> None:
        self.talk.content.remove(name)
        self.look()

    @rule(name=st.sampled_from("abc"))
    def come_and_go(self, name: str) -> None:
        self.put(name, 2)
        self.remove(name)

    @rule(name=st.sampled_from("abc"), bad=st.booleans())
    def become(self, name: str, bad: bool) -> None:
        (self.bad.add if bad else self.bad.discard)(name)

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 3.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.talk.now += seconds
        self.look()

    @rule()
    def lose_an_answer(self) -> None:
        """The connection of the poll breaks; Envoy polls again, and may lose the answer to that too."""
        self.lose = True
        self.poll()

    @rule()
    def envoy_restarts(self) -> None:
        self.envoy = ModelEnvoy()
        self.talk.subscription = Subscription()  # its session ended with its connections
        self.poll()

    @rule()
    def recover(self) -> None:
        self.bad.clear()
        for _ in range(3):
            self.wait(RETRY_LAST)
        assert self.envoy.running == self.ours()
        assert not self.talk.subscription.nacked
        assert self.talk.subscription.acked == self.talk.content.version

    def ours(self) -> dict[str, object]:
        fresh = ModelEnvoy()
        fresh.receive(bytes(self.talk.content.body("")), NOTHING)
        return fresh.running

    @invariant()
    def what_is_good_is_served(self) -> None:
        ours = self.ours()
        for name in set(ours) - self.bad - {name for name in ours if self.talk.subscription.nacked}:
            assert self.envoy.running.get(name) == ours[name]

    @invariant()
    def the_same_content_is_never_retried_within_a_second(self) -> None:
        for (earlier, sequence), (later, same) in zip(self.sent, self.sent[1:], strict=False):
            assert sequence != same or later - earlier >= RETRY_FIRST


TestAnyDialogue = AnyDialogue.TestCase
TestAnyDialogue.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
