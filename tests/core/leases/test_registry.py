"""Leases and what they make of Envoy's resources, case by case (test_registry_model.py: in any order)."""

import json
import math
import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.binding import Address, Backend, Binding, overlap, second_name
from shim.core.discovery.sessions import Session, Sessions
from shim.core.discovery.versions import Resource
from shim.core.envoy.modes import Serving
from shim.core.envoy.upstreams import HTTP_UPSTREAM, Upstream
from shim.core.leases.cluster_names import cluster_names
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.registry import ENVOY_TIMEOUT, SIBLING_GRACE, Registry
from shim.core.service import Service
from tests.builders import make_binding, make_labelled, make_lease, make_service

Labelled = tuple[Service, Serving]


class Host:
    """A registry with simple resources, a clock, and Envoys that process what they are told to."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.registry = Registry(self.sessions, _listener, _cluster)
        self.now = 0.0
        self._ids = 0

    def start(self, binding: Binding, labelled: Labelled | None = None, order: float | None = None) -> Lease:
        self._ids += 1
        lease = make_lease(self._ids, binding, order, now=self.now)
        self.registry.add(lease)
        if labelled is not None:
            self.label(lease, labelled)
        return lease

    def label(self, lease: Lease, labelled: Labelled) -> None:
        self.registry.label(lease, *labelled, self.now)
        self.advance()

    def release(self, lease: Lease) -> None:
        self.registry.release(lease, self.now)
        self.advance()

    def end(self, lease: Lease) -> None:
        self.registry.end(lease, self.now)
        self.advance()

    def advance(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.registry.advance(self.now)
        assert self.registry.due() > self.now

    def envoy(self, node: str = "envoy") -> Session:
        """One that has processed everything so far."""
        session = self.sessions.poll(node, "", ord(node[-1]), self.now)
        self.clusters_processed()
        self.listeners_processed()
        return session

    def clusters_processed(self) -> None:
        for session in self.sessions:
            clusters = self.registry.clusters
            session.clusters.request(clusters.version, clusters.version, clusters.sequence, self.now)
        self.advance()

    def listeners_processed(self) -> None:
        for session in self.sessions:
            listeners = self.registry.listeners
            session.listeners.request(listeners.version, listeners.version, listeners.sequence, self.now)
        self.advance()

    def listed(self) -> dict[str, str]:
        """Address -> the backend it leads to; a cluster that is not there leads nowhere."""
        clusters = {c["name"]: c["backend"] for c in _resources(bytes(self.registry.clusters.body("")))}
        return {
            listener["name"]: clusters.get(listener["cluster"], "nowhere")
            for listener in _resources(bytes(self.registry.listeners.body("")))
        }


def _listener(
    binding: Binding, cluster: str, service: Service, serving: Serving, second_port: int
) -> Resource:
    name = second_name(binding.address) if second_port else str(binding.address)
    listener = {"name": name, "cluster": cluster, "mode": serving.mode.name, "port": second_port}
    return (json.dumps(listener).encode(),)


def _cluster(name: str, backend: Backend, upstream: Upstream) -> Resource:
    return (json.dumps({"name": name, "backend": str(backend), "http": upstream is HTTP_UPSTREAM}).encode(),)


def _resources(body: bytes) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(body)["resources"]
    return found


WEB, API = make_labelled("web"), make_labelled("api")
ONE, TWO = make_binding(backend_ip="172.17.0.2"), make_binding(backend_ip="172.17.0.3")
NAME = "tcp/0.0.0.0:8080"


def test_a_lease_without_labels_is_published_to_nobody() -> None:
    host = Host()
    lease = host.start(ONE)
    host.advance(60)
    assert (lease.stage, host.listed(), len(host.registry.clusters)) == (Stage.PENDING, {}, 0)
    assert [container.leases for container in host.registry.unlabelled()] == [{lease.id}]
    assert host.registry.due() == math.inf


def test_without_an_envoy_a_labelled_lease_is_listed_at_once() -> None:
    host = Host()
    lease = host.start(ONE, WEB)
    assert (lease.stage, host.listed()) == (Stage.LISTED, {NAME: "172.17.0.2:80"})
    assert list(host.registry.clusters) == ["web-8080"]


def test_a_listener_waits_for_every_envoy_to_know_its_cluster() -> None:
    host = Host()
    host.envoy("a")
    host.envoy("b")
    host.start(ONE, WEB)
    assert "web-8080" in host.registry.clusters and not host.listed()
    host.clusters_processed()
    assert host.listed() == {NAME: "172.17.0.2:80"}


def test_no_envoy_holds_a_listener_up_for_more_than_a_second() -> None:
    host = Host()
    host.envoy()
    lease = host.start(ONE, WEB)
    assert host.registry.due() == host.now + ENVOY_TIMEOUT
    host.advance(ENVOY_TIMEOUT - 0.125)
    assert not host.listed()
    host.advance(0.125)
    assert (lease.stage, host.listed()) == (Stage.LISTED, {NAME: "172.17.0.2:80"})
    assert host.registry.due() == math.inf


def test_a_release_takes_the_listener_out_at_once_and_the_cluster_when_it_is_off_every_envoy() -> None:
    host = Host()
    host.envoy()
    lease = host.start(ONE, WEB)
    host.clusters_processed()
    host.listeners_processed()
    host.release(lease)
    assert (host.listed(), list(host.registry.clusters)) == ({}, ["web-8080"])
    assert not host.registry.off_envoy(lease)
    assert host.registry.withdrawal_of(lease.binding.address) == host.registry.listeners.sequence
    host.listeners_processed()
    assert host.registry.off_envoy(lease)
    assert host.registry.withdrawal_of(lease.binding.address) is None
    assert len(host.registry.clusters) == 0


def test_a_cluster_leaves_after_a_second_even_if_an_envoy_does_not_answer() -> None:
    host = Host()
    host.envoy()
    lease = host.start(ONE, WEB)
    host.clusters_processed()
    host.end(lease)
    assert len(host.registry.clusters) == 1
    host.advance(ENVOY_TIMEOUT)
    assert len(host.registry.clusters) == 0


def test_a_killed_shim_takes_its_binding_with_it_and_nothing_else() -> None:
    host = Host()
    lease = host.start(ONE, WEB)
    host.start(make_binding(port=9090, backend_ip="172.17.0.2"), WEB)
    host.end(lease)
    host.end(lease)
    assert host.listed() == {"tcp/0.0.0.0:9090": "172.17.0.2:80"}
    assert len(host.registry) == 1 and host.registry.get(lease.id) is None


def test_ports_of_one_container_are_released_together_and_come_back_unless_meant() -> None:
    host = Host()
    first, other = host.start(ONE, WEB), host.start(make_binding(port=9090), WEB)
    stranger = host.start(make_binding(port=9091, backend_ip="172.17.0.9"), API)
    host.release(first)
    assert (first.stage, other.stage, stranger.stage) == (Stage.RELEASING, Stage.RELEASING, Stage.LISTED)
    host.advance(SIBLING_GRACE - 0.5)
    assert other.stage is Stage.RELEASING
    host.advance(0.5)
    host.advance()
    assert (first.stage, other.stage) == (Stage.RELEASING, Stage.LISTED)
    assert set(host.listed()) == {"tcp/0.0.0.0:9090", "tcp/0.0.0.0:9091"}


@pytest.mark.parametrize("order", [0.0, 2.0], ids=["older", "newer"])
def test_of_two_leases_for_one_address_the_newer_is_served_and_the_other_is_its_heir(order: float) -> None:
    host = Host()
    first, second = host.start(ONE, WEB, order=1.0), host.start(TWO, API, order=order)
    newer, older = (second, first) if order > 1 else (first, second)
    assert host.listed() == {NAME: str(newer.binding.backend)}
    host.end(newer)
    assert host.listed() == {NAME: str(older.binding.backend)}
    host.end(older)
    assert host.listed() == {}


def test_a_newer_lease_without_labels_does_not_interrupt_the_older() -> None:
    host = Host()
    host.start(ONE, WEB)
    newer = host.start(TWO)
    assert host.listed() == {NAME: "172.17.0.2:80"}
    host.end(newer)
    assert host.listed() == {NAME: "172.17.0.2:80"}


def test_the_end_of_an_older_lease_does_not_take_the_newers_listener() -> None:
    host = Host()
    older, newer = host.start(ONE, WEB), host.start(TWO, WEB)
    host.release(older)
    host.end(older)
    assert host.listed() == {NAME: str(newer.binding.backend)}


@pytest.mark.parametrize("how", ["relabelled", "taken over"])
def test_a_cluster_stays_until_no_listener_that_an_envoy_has_leads_to_it(how: str) -> None:
    host = Host()
    host.envoy()
    lease = host.start(ONE, WEB)
    host.clusters_processed()
    host.listeners_processed()
    if how == "relabelled":
        host.label(lease, API)
    else:
        host.start(TWO, API)
    assert set(host.registry.clusters) == {"web-8080", "api-8080"}
    host.clusters_processed()
    assert set(host.registry.clusters) == {"web-8080", "api-8080"}
    host.listeners_processed()
    assert set(host.registry.clusters) == {"api-8080"}


def test_udp_leases_are_kept_but_envoy_hears_nothing_of_them() -> None:
    host = Host()
    lease = host.start(make_binding(proto="udp"), WEB)
    host.release(lease)
    host.advance(60)
    assert (host.listed(), len(host.registry.clusters), len(host.registry)) == ({}, 0, 1)


def test_replicas_on_one_host_port_and_dual_stack_share_names_only_with_the_same_backend() -> None:
    host = Host()
    host.start(ONE, WEB)
    host.start(make_binding(ip="::"), WEB)  # dockerd's IPv6 proxy to the same container
    host.start(make_binding(ip="127.0.0.2", backend_ip="172.17.0.3"), WEB)
    host.start(make_binding(ip="::1", backend_ip="172.17.0.4"), WEB)
    assert set(host.registry.clusters) == {"web-8080", "web-127_0_0_2-8080", "web-8080-172_17_0_4-80"}
    assert len({host.registry.backend_of(name) for name in host.registry.clusters}) == 3


def test_names_that_collide_after_cleaning_never_lead_to_another_container() -> None:
    host = Host()
    # The third cannot have the second's name, and its longer one is the first's.
    named = (("web-8080", "172.17.0.4"), ("web", "127.0.0.1"), ("web", "::1"))
    wanted = {}
    for i, (name, ip) in enumerate(named, 2):
        binding = make_binding(ip=ip, backend_ip=f"172.17.0.{i}", backend_port=8080)
        host.start(binding, make_labelled(name))
        wanted[str(binding.address)] = str(binding.backend)
    assert host.listed() == wanted
    plain = ("web-8080-172_17_0_4-8080", "web-8080")
    assert set(host.registry.clusters) == {*plain, "web-8080-172_17_0_4-8080-2"}


@given(st.permutations(range(4)))
def test_what_is_served_does_not_depend_on_the_order_of_labels(order: list[int]) -> None:
    """Else a registrar's restart would have Envoy reload listeners that did not change.

    Worse, a name that was another's would lead a listener to the wrong container until Envoy reloads it.
    """
    versions = set()
    for sequence in (range(4), order):
        host = Host()
        addresses = (("0.0.0.0", 8001), ("0.0.0.0", 8002), ("10.0.0.1", 8003), ("10.0.0.2", 8003))
        leases = [
            host.start(make_binding(ip=ip, port=port, backend_ip=f"172.17.0.{i}"))
            for i, (ip, port) in enumerate(addresses, 2)
        ]
        for i in sequence:
            host.label(leases[i], WEB)
        versions.add(host.registry.listeners.version + host.registry.clusters.version)
    assert len(versions) == 1


@given(st.text(), st.text(), st.integers(1, 65535), st.ip_addresses().map(str))
def test_a_cluster_is_named_so_that_prometheus_can_read_it(name: str, env: str, port: int, ip: str) -> None:
    binding = make_binding(port=port, backend_ip=ip)
    for text in islice(cluster_names(make_service(name, env), binding), 3):
        assert re.fullmatch("[A-Za-z0-9_-]+", text)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("0.0.0.0", "0.0.0.0", False),
        ("0.0.0.0", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("::", "0.0.0.0", True),
        ("::", "::1", False),
        ("::1", "127.0.0.1", True),
    ],
)
def test_addresses_overlap_where_they_cannot_both_be_listened_on(one: str, other: str, both: bool) -> None:
    first, second = Address("tcp", one, 80), Address("tcp", other, 80)
    assert overlap(first, second) is overlap(second, first) is not both
    assert not overlap(first, second._replace(port=81))
    assert not overlap(first, second._replace(proto="udp"))
