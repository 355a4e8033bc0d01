"""What is served, worked out from what has changed, beside the same worked out from everything each time."""

from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from shim.core.binding import Address, second_name
from shim.core.discovery.sessions import Session
from shim.core.firewall.elements import Elements
from shim.core.firewall.table import served, served_of
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.served import ServedAddresses
from tests.builders import make_labelled
from tests.core.leases.test_registry import Host, Labelled
from tests.core.leases.test_registry_model import BINDINGS, SERVICES, Envoy, World

DIRECT = make_labelled("web", mode="direct")
KEEPING: list[Labelled] = [(service, serving._replace(keeps_client=True)) for service, serving in SERVICES]


class Everything:
    """The rules of shim/core/leases/served.py, by a look at each lease."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.addresses: frozenset[Address] = frozenset()
        self.kept: Mapping[Address, int] = {}

    def look(self) -> None:
        leases, envoys = list(self.host.registry), self.host.sessions.trusted()
        listed = {lease.binding.address: lease for lease in leases if lease.stage is Stage.LISTED}
        found = {address for address, lease in listed.items() if self.is_served(lease, envoys)}
        for lease in leases:
            address = lease.binding.address
            if lease.stage not in (Stage.PENDING, Stage.STAGED) or address in listed:
                continue
            there = str(address) in self.host.registry.listeners
            if there and address in self.addresses and not rejected(str(address), envoys):
                found.add(address)
        self.addresses = frozenset(found)
        self.kept = {
            address: second.port
            for address, second in self.host.registry.second.listed.items()
            if address in found
            and (
                any(envoy.listens(second_name(address), second.sequence) for envoy in envoys)
                or (self.kept.get(address) == second.port and not rejected(second_name(address), envoys))
            )
        }

    def is_served(self, lease: Lease, envoys: list[Session]) -> bool:
        address = lease.binding.address
        assert lease.serving is not None
        if not lease.serving.mode.takes_network:
            return False
        if any(envoy.listens(str(address), lease.listener_sequence) for envoy in envoys):
            return True
        return address in self.addresses and not rejected(str(address), envoys)


def rejected(name: str, envoys: list[Session]) -> bool:
    return any(name in envoy.rejected for envoy in envoys)


class Changes(World):
    """Shims, labels and Envoys come and go, refuse and accept, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.host.registry.second.wanted = True
        self.addresses = ServedAddresses(self.host.registry, self.host.sessions)
        self.everything = Everything(self.host)
        self.elements = Elements()

    @rule(node=st.sampled_from("ab"))
    def connect(self, node: str) -> None:
        if node not in self.envoys:
            self.envoys[node] = Envoy(self.host, node)

    @rule(node=st.sampled_from("ab"))
    def vanish(self, node: str) -> None:
        if envoy := self.envoys.pop(node, None):
            envoy.leave()

    @rule()
    def poll(self) -> None:
        self.poll_all()

    @rule(clusters=st.booleans())
    def one_polls(self, clusters: bool) -> None:
        for envoy in list(self.envoys.values())[:1]:
            envoy.poll_clusters() if clusters else envoy.poll_listeners()

    @rule(binding=st.sampled_from(BINDINGS), second=st.booleans())
    def refuse(self, binding: Any, second: bool) -> None:
        for session in list(self.host.sessions)[:1]:
            address = binding.address
            session.rejected[second_name(address) if second else str(address)] = "because"

    @rule()
    def accept(self) -> None:
        for session in self.host.sessions:
            session.rejected.clear()

    @rule(lease=World.leases, labelled=st.sampled_from([DIRECT, *KEEPING]))
    def serve_otherwise(self, lease: Lease, labelled: Labelled) -> None:
        if self.alive(lease):
            self.host.label(lease, labelled)

    @rule(lease=World.leases)
    def hand_over(self, lease: Lease) -> None:
        if self.alive(lease):
            lease.orphan = True
            self.host.registry.release_alone(lease, self.host.now)

    @rule(seconds=st.sampled_from([0.25, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.host.advance(seconds)

    def every_listener_is_one_live_lease_s_and_its_cluster_is_there(self) -> None:
        """Second listeners are no lease's own."""

    @invariant()
    def both_say_the_same(self) -> None:
        self.everything.look()
        self.addresses.update()
        assert self.addresses.addresses == self.everything.addresses
        assert self.addresses.kept == self.everything.kept
        assert self.addresses.handed_over == {
            lease.binding.address for lease in self.host.registry if lease.orphan and lease.released
        }
        assert not self.addresses.update()
        self.elements.follow(self.addresses.addresses, self.addresses.kept)
        assert self.elements.served == served_of(self.addresses.addresses)
        kept = {element: port for a, port in self.addresses.kept.items() if (element := served(a))}
        assert self.elements.kept == kept


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
