"""The registry against a small world of shims and Envoys in which anything may happen in any order."""

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from shim.core.discovery.sessions import Session
from shim.core.discovery.subscription import RETRY_LAST, Reply, Subscription
from shim.core.discovery.versions import VersionedSet
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.registry import ENVOY_TIMEOUT
from tests.builders import ModelEnvoy, make_binding, make_labelled
from tests.core.leases.test_registry import Host, Labelled

SERVICES = [
    make_labelled(name, mode=mode)
    for name, mode in (("web", "http"), ("web", "tcp"), ("we.b", "http"), ("we_b", "http"), ("api", "tcp"))
]
BINDINGS = [
    make_binding(ip=ip, port=port, backend_ip=f"172.17.0.{last}", backend_port=80, proto=proto)
    for ip, port in (("0.0.0.0", 80), ("127.0.0.1", 80), ("::", 80), ("0.0.0.0", 81))
    for last in (2, 3)
    for proto in ("tcp", "tcp", "udp")
]


class Envoy:
    """One Envoy: clusters first, and listeners once it has had clusters."""

    def __init__(self, host: Host, node: str) -> None:
        self.host, self.node = host, node
        self.clusters, self.listeners = ModelEnvoy(), ModelEnvoy()
        self.bad: set[str] = set()
        self._session()

    def _session(self) -> Session:
        return self.host.sessions.poll(self.node, "", ord(self.node), self.host.now)

    def poll_clusters(self) -> bool:
        session = self._session()
        return self._poll(session.clusters, self.clusters, self.host.registry.clusters)

    def poll_listeners(self) -> bool:
        session = self._session()
        if not self.clusters.version:
            return False
        return self._poll(session.listeners, self.listeners, self.host.registry.listeners)

    def _poll(self, subscription: Subscription, model: ModelEnvoy, resources: VersionedSet) -> bool:
        """One poll; says whether it was answered."""
        now = self.host.now
        subscription.request(model.version, resources.version, resources.sequence, now)
        self.host.advance()
        decision = subscription.decide(resources.version, resources.sequence, now)
        if not isinstance(decision, Reply):
            return False
        subscription.served(decision.version, resources.sequence)
        model.receive(bytes(resources.body(decision.version)), self.bad.__contains__)
        return True

    def routes(self) -> dict[str, Any]:
        """Address -> the backend it leads to, in this Envoy."""
        return {
            name: self.clusters.running.get(listener["cluster"], {"backend": "nowhere"})["backend"]
            for name, listener in self.listeners.running.items()
        }

    def leave(self) -> None:
        self.host.sessions.closed(ord(self.node))
        self.host.advance()


class World(RuleBasedStateMachine):
    """What all worlds have: shims that come, are named, renamed, released and killed."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.host = Host()
        self.envoys: dict[str, Envoy] = {}

    @rule(target=leases, binding=st.sampled_from(BINDINGS), order=st.integers(0, 9))
    def start(self, binding: Any, order: int) -> Lease:
        return self.host.start(binding, order=float(order))

    @rule(lease=leases, service=st.sampled_from(SERVICES))
    def label(self, lease: Lease, service: Labelled) -> None:
        if self.alive(lease):
            self.host.label(lease, service)

    @rule(target=leases, binding=st.sampled_from(BINDINGS), service=st.sampled_from(SERVICES))
    def publish(self, binding: Any, service: Labelled) -> Lease:
        return self.host.start(binding, service)

    @rule(lease=leases)
    def release(self, lease: Lease) -> None:
        if self.alive(lease):
            self.host.release(lease)

    @rule(lease=leases)
    def kill(self, lease: Lease) -> None:
        self.host.end(lease)

    def alive(self, lease: Lease) -> bool:
        return self.host.registry.get(lease.id) is lease

    def wanted(self) -> dict[str, str]:
        """Address -> backend, from the leases alone."""
        found: dict[str, str] = {}
        for lease in sorted(self.host.registry, key=lambda lease: (lease.order, lease.id)):
            if lease.service and lease.binding.address.proto == "tcp":
                found[str(lease.binding.address)] = str(lease.binding.backend)
        return found

    def come_to_rest(self) -> None:
        """Every shim that asked ends, every poll is made, every deadline passes."""
        for lease in list(self.host.registry):
            if lease.released:
                self.host.end(lease)
        for _ in range(6):
            self.poll_all()
            self.host.advance(RETRY_LAST)
        self.poll_all()

    def poll_all(self) -> None:
        for _ in range(100):
            answered = [envoy.poll_clusters() | envoy.poll_listeners() for envoy in self.envoys.values()]
            if not any(answered):
                return
        raise AssertionError("Envoys are answered without end")

    @invariant()
    def every_listener_is_one_live_lease_s_and_its_cluster_is_there(self) -> None:
        registry = self.host.registry
        tcp = {str(lease.binding.address) for lease in registry if lease.binding.address.proto == "tcp"}
        assert set(registry.listeners) <= tcp
        assert "nowhere" not in self.host.listed().values()


class Chaos(World):
    """Envoys that come, go, refuse and sleep: at rest, each lease has exactly its own listener."""

    @rule(node=st.sampled_from("ab"))
    def connect(self, node: str) -> None:
        if node not in self.envoys:
            self.envoys[node] = Envoy(self.host, node)

    @rule(node=st.sampled_from("ab"))
    def vanish(self, node: str) -> None:
        if envoy := self.envoys.pop(node, None):
            envoy.leave()

    @rule(node=st.sampled_from("ab"), clusters=st.booleans(), times=st.integers(1, 3))
    def poll(self, node: str, clusters: bool, times: int) -> None:
        if envoy := self.envoys.get(node):
            for _ in range(times):
                envoy.poll_clusters() if clusters else envoy.poll_listeners()

    @rule(node=st.sampled_from("ab"), binding=st.sampled_from(BINDINGS))
    def port_is_taken(self, node: str, binding: Any) -> None:
        if envoy := self.envoys.get(node):
            envoy.bad ^= {str(binding.address)}

    @rule(seconds=st.sampled_from([0.25, 1.0, 5.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.host.advance(seconds)

    @rule()
    def recovered(self) -> None:
        """What is known again after a restart is listed without waiting for anybody."""
        self.host.registry.list_staged(self.host.now)
        assert not any(lease.stage is Stage.STAGED for lease in self.host.registry)
        self.host.advance()

    @rule()
    def rest(self) -> None:
        for envoy in self.envoys.values():
            envoy.bad.clear()
        self.come_to_rest()
        registry = self.host.registry
        assert self.host.listed() == self.wanted()
        assert registry.due() == math.inf
        assert all(lease.stage in (Stage.PENDING, Stage.LISTED) for lease in registry)
        used = {lease.cluster for lease in registry if lease.stage is Stage.LISTED}
        assert set(registry.clusters) == used
        assert None not in map(registry.backend_of, used)
        for envoy in self.envoys.values():
            assert envoy.routes() == self.wanted()
            assert set(envoy.clusters.running) == used


class Healthy(World):
    """With Envoys that poll, no address leads nowhere or to a stranger for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.envoys = {node: Envoy(self.host, node) for node in "ab"}
        self.poll_all()

    @rule(node=st.sampled_from("ab"), clusters=st.booleans())
    def poll(self, node: str, clusters: bool) -> None:
        envoy = self.envoys[node]
        envoy.poll_clusters() if clusters else envoy.poll_listeners()

    @rule(seconds=st.sampled_from([0.25, 5.0]))
    def wait(self, seconds: float) -> None:
        self.poll_all()
        self.host.advance(seconds)

    @rule(lease=World.leases)
    def a_release_is_answered_after_one_round_of_polls(self, lease: Lease) -> None:
        if self.alive(lease):
            self.host.release(lease)
            self.poll_all()
            assert self.host.registry.off_envoy(lease)

    @invariant()
    def every_listener_that_an_envoy_has_leads_to_a_cluster_that_it_has(self) -> None:
        for envoy in self.envoys.values():
            assert "nowhere" not in envoy.routes().values()

    @invariant()
    def nothing_waits_for_healthy_envoys_longer_than_its_timeout(self) -> None:
        due = self.host.registry.due()
        assert due > self.host.now
        for lease in self.host.registry:
            if lease.stage is Stage.STAGED:
                assert due <= lease.stage_at + ENVOY_TIMEOUT


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHealthy = Healthy.TestCase
TestHealthy.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
