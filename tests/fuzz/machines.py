"""The state machines, driven by bytes: any order of events ends where it should.

They are the worlds of the models in tests/core, whose invariants are looked at after every step.  There
Hypothesis chooses the steps; here what chooses them looks for paths through the code.
"""

from collections.abc import Callable

from tests.core.discovery.test_subscription_model import AnyDialogue
from tests.core.leases.test_registry_model import BINDINGS, SERVICES, Chaos, Envoy

STEPS = 200


class Source:
    """Choices from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data[: 4 * STEPS])

    def below(self, count: int) -> int:
        return next(self._data) % count


def registry(data: bytes) -> None:
    """Shims that come, are labelled, released and killed, among Envoys that do as they like."""
    world = Chaos()
    leases: list[object] = []
    source = Source(data)
    waits = (0.25, 1.0, 5.0, 40.0)

    def start() -> None:
        leases.append(world.start(BINDINGS[source.below(len(BINDINGS))], source.below(10)))

    def publish() -> None:
        service = SERVICES[source.below(len(SERVICES))]
        leases.append(world.publish(BINDINGS[source.below(len(BINDINGS))], service))

    def with_lease(act: Callable[..., None], *more: object) -> None:
        if leases:
            act(leases[source.below(len(leases))], *more)

    def node() -> str:
        return "ab"[source.below(2)]

    def poll() -> None:
        world.poll(node(), bool(source.below(2)), 1 + source.below(3))

    steps: list[Callable[[], None]] = [
        start,
        publish,
        publish,
        lambda: with_lease(world.label, SERVICES[source.below(len(SERVICES))]),
        lambda: with_lease(world.release),
        lambda: with_lease(world.kill),
        lambda: world.connect(node()),
        lambda: world.vanish(node()),
        poll,
        poll,
        lambda: world.port_is_taken(node(), BINDINGS[source.below(len(BINDINGS))]),
        lambda: world.wait(waits[source.below(len(waits))]),
        world.recovered,
        world.rest,
    ]
    try:
        for _ in range(STEPS):
            steps[source.below(len(steps))]()
            world.every_listener_is_one_live_lease_s_and_its_cluster_is_there()
    except StopIteration:
        pass
    # Every live lease has exactly its own binding, and there is nothing else.
    if not world.envoys:
        world.envoys["a"] = Envoy(world.host, "a")
    world.rest()
    for lease in list(world.host.registry):
        world.kill(lease)
    world.rest()
    assert not len(world.host.registry.listeners)
    assert not len(world.host.registry.clusters)
    kept = {name: value for name, value in vars(world.host.registry).items() if name.startswith("_")}
    assert not any(value for value in kept.values() if isinstance(value, dict)), kept


def decision(data: bytes) -> None:
    """What a poll is answered, with an Envoy that refuses, loses and forgets."""
    world = AnyDialogue()
    source = Source(data)
    waits = (0.25, 0.5, 1.0, 3.0, 40.0)

    def name() -> str:
        return "abc"[source.below(3)]

    steps: list[Callable[[], None]] = [
        lambda: world.put(name(), source.below(2)),
        lambda: world.remove(name()),
        lambda: world.come_and_go(name()),
        lambda: world.become(name(), bool(source.below(2))),
        lambda: world.wait(waits[source.below(len(waits))]),
        world.lose_an_answer,
        world.envoy_restarts,
        world.recover,
    ]
    try:
        for _ in range(STEPS):
            steps[source.below(len(steps))]()
            world.what_is_good_is_served()
            world.the_same_content_is_never_retried_within_a_second()
    except StopIteration:
        pass
    world.recover()
