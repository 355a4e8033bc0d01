"""Second listeners: which addresses have one, on which port, and when the firewall may lead clients there."""

import json
from collections.abc import Collection

import pytest

from shim.core.binding import Address, Backend, Binding, listener_ip, second_name
from shim.core.discovery.sessions import Session, Sessions
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import MODES, Serving
from shim.core.envoy.templates import Templates
from shim.core.firewall.names import PORTS
from shim.core.firewall.table import Served, served
from shim.core.leases.lease import Lease, Stage
from shim.core.leases.registry import Registry
from shim.core.leases.second_listeners import NO_PORT, OTHER_FAMILY, SecondListeners
from shim.core.leases.served import ServedAddresses
from shim.registrar.second_refusals import SecondRefusals
from tests.builders import make_binding, make_lease, make_service

BUSY = "cannot bind '127.0.0.1:1': Address already in use"
DENIED = "ListenSocket: Setting socket options failed"


class Host:
    """A registry whose leases' labels are known at once, and one Envoy that takes what it is told to."""

    def __init__(self, ports: range = PORTS, busy: Collection[int] = (), wanted: bool = True) -> None:
        self.sessions = Sessions()
        self.second = SecondListeners(ports, lambda ip, port: port not in busy)
        self.second.wanted = wanted
        templates = Templates(HttpOptions())
        self.registry = Registry(self.sessions, templates.listener, templates.cluster, self.second)
        self.addresses = ServedAddresses(self.registry, self.sessions)
        self.refusals = SecondRefusals(self.registry)

    def start(self, binding: Binding, mode: str = "http", keeps: bool = True) -> Lease:
        lease = make_lease(self.registry.newest() + 1, binding)
        self.registry.add(lease)
        self.registry.label(lease, make_service(), Serving(MODES[mode], keeps_client=keeps), 0.0)
        self.registry.advance(0.0)
        return lease

    def port(self, lease: Lease) -> int:
        """Of its second listener; 0: it has none."""
        second = self.second.listed.get(lease.binding.address)
        return second.port if second else 0

    def envoy(self) -> Session:
        """One that has processed everything so far, and is told what comes."""
        session = self.sessions.poll("envoy", "", 1, 0.0)
        for kind in ("clusters", "listeners"):
            resources = getattr(self.registry, kind)
            getattr(session, kind).request(resources.version, resources.version, resources.sequence, 0.0)
        self.registry.advance(0.0)
        self.addresses.update()
        return session

    def refused(self, envoy: Session, lease: Lease, why: str) -> None:
        envoy.rejected[second_name(lease.binding.address)] = why
        self.refusals.advance(0.0)
        self.addresses.update()

    def listed(self) -> dict[str, tuple[str, int]]:
        """Name -> where it listens, of second listeners."""
        resources = json.loads(bytes(self.registry.listeners.body("")))["resources"]
        places = {found["name"]: found["address"]["socket_address"] for found in resources}
        return {name: (at["address"], at["port_value"]) for name, at in places.items() if "#" in name}


@pytest.mark.parametrize(
    ("binding", "mode", "keeps", "why"),
    [
        (make_binding(), "http", True, ""),
        (make_binding(ip="10.0.0.1"), "tcp", True, ""),
        (make_binding(ip="::", backend_ip="fd00::2"), "http", True, ""),
        (make_binding(ip="::"), "http", True, OTHER_FAMILY),
        (make_binding(), "http", False, None),
        (make_binding(), "direct", True, None),
        (make_binding(ip="127.0.0.1"), "http", True, None),
        (make_binding(proto="udp"), "http", True, None),
    ],
)
def test_an_address_has_one_where_its_container_wants_it_and_can_use_it(
    binding: Binding, mode: str, keeps: bool, why: str | None
) -> None:
    host = Host()
    lease = host.start(binding, mode, keeps)
    assert host.second.why_not(lease) == why
    place = listener_ip(binding.address), host.port(lease)
    assert host.listed() == ({second_name(binding.address): place} if why == "" else {})
    assert (host.port(lease) in PORTS) is (why == "")


def test_without_a_firewall_nobody_has_one() -> None:
    host = Host(wanted=False)
    assert host.second.why_not(host.start(make_binding())) == "firewall: off"
    assert host.listed() == {}


def test_it_comes_and_goes_with_the_first() -> None:
    host = Host()
    lease = host.start(make_binding())
    envoy = host.envoy()
    assert host.addresses.kept == {lease.binding.address: host.port(lease)}
    host.registry.release(lease, 0.0)
    assert host.listed() == {}
    # Only an Envoy that has seen both go has let go.
    assert lease.listener_sequence == host.registry.listeners.sequence
    assert not host.registry.off_envoy(lease)
    host.addresses.update()
    assert host.addresses.kept == {}
    assert envoy is host.envoy()
    assert host.registry.off_envoy(lease)


def test_clients_are_led_there_once_an_envoy_has_it_and_not_where_it_refuses() -> None:
    host = Host()
    envoy = host.envoy()
    lease = host.start(make_binding())
    host.registry.advance(2.0)  # longer than Envoy is waited for
    host.addresses.update()
    assert host.addresses.kept == {}
    host.envoy()
    assert host.addresses.kept == {lease.binding.address: host.port(lease)}
    host.sessions.closed(1)
    host.addresses.update()
    assert host.addresses.kept  # whether it lives is the kernel's to see
    envoy = host.envoy()
    envoy.rejected[second_name(lease.binding.address)] = DENIED
    host.addresses.update()
    assert host.addresses.kept == {}
    assert host.addresses.addresses == {lease.binding.address}


def test_an_address_that_another_container_takes_over_is_kept_only_if_that_one_wants_it() -> None:
    host = Host()
    address = host.start(make_binding()).binding.address
    host.envoy()
    kept = {address: host.second.listed[address].port}
    host.start(make_binding(backend_ip="172.17.0.3"))
    # Until it is replaced, and after that.
    host.addresses.update()
    assert host.addresses.kept == kept
    host.envoy()
    host.envoy()
    assert host.addresses.kept == kept
    host.start(make_binding(backend_ip="172.17.0.4"), keeps=False)
    host.envoy()
    assert (host.listed(), host.addresses.kept) == ({}, {})


def test_ports_are_the_same_in_any_order_and_after_a_restart() -> None:
    bindings = [make_binding(port, ip) for port in (80, 443) for ip in ("0.0.0.0", "10.0.0.1")]
    first, again = Host(), Host()
    for binding in bindings:
        first.start(binding)
    for binding in reversed(bindings):
        again.start(binding)
    assert first.listed() == again.listed()
    assert len(first.listed()) == len(bindings)
    # As the table has them, whatever follows from the address.
    successor = Host()
    wanted = {served(b.address): PORTS[n] for n, b in enumerate(bindings)}
    successor.second.inherit({address: port for address, port in wanted.items() if address})
    leases = [successor.start(binding) for binding in bindings]
    assert [successor.port(lease) for lease in leases] == list(PORTS[: len(bindings)])


def test_a_port_that_the_configuration_no_longer_has_is_not_inherited() -> None:
    host = Host()
    host.second.inherit({Served("0.0.0.0", 8080): 7})
    assert host.port(host.start(make_binding())) in PORTS


def test_ports_in_use_are_left_out_until_none_is_left() -> None:
    host = Host(range(1, 5), busy=[1, 3])
    leases = [host.start(make_binding(port)) for port in (80, 81, 82)]
    assert {host.port(lease) for lease in leases} == {2, 4, 0}
    assert [host.second.why_not(lease) for lease in leases] == ["", "", NO_PORT]
    # With one given back, the next container has it.
    host.registry.release(leases[0], 0.0)
    assert host.port(host.start(make_binding(83))) in (2, 4)


def test_an_envoy_that_finds_a_port_in_use_is_told_another() -> None:
    host = Host(range(1, 3))
    lease = host.start(make_binding())
    envoy, port = host.envoy(), host.port(lease)
    host.refused(envoy, lease, BUSY)
    assert host.port(lease) == 3 - port
    assert host.addresses.kept == {}
    host.envoy()
    assert host.addresses.kept == {lease.binding.address: 3 - port}
    assert host.second.why_not(lease) == ""


def test_an_envoy_that_may_not_have_any_has_none_while_it_is_there() -> None:
    host = Host()
    leases = [host.start(make_binding(port)) for port in (80, 81)]
    envoy = host.envoy()
    before = host.listed()
    host.refused(envoy, leases[0], DENIED)
    assert (host.listed(), host.addresses.kept) == ({}, {})
    assert {host.second.why_not(lease) for lease in leases} == {"Envoy envoy has no CAP_NET_RAW"}
    assert host.addresses.addresses == {lease.binding.address for lease in leases}
    leases.append(host.start(make_binding(82)))
    host.envoy()
    assert (leases[-1].stage, host.listed()) == (Stage.LISTED, {})
    host.sessions.closed(1)
    host.refusals.advance(0.0)
    assert host.listed().items() > before.items()
    assert {host.second.why_not(lease) for lease in leases} == {""}


def test_any_other_reason_of_envoys_is_passed_on() -> None:
    host = Host()
    lease = host.start(make_binding())
    host.refused(host.envoy(), lease, "no such filter")
    assert host.second.why_not(lease) == "Envoy envoy refuses: no such filter"
    assert host.refusals.due() == float("inf")


def test_the_name_of_a_second_listener_is_no_firsts() -> None:
    address, backend = Address("tcp", "::", 80), Backend("fd00::2", 80)
    assert second_name(address) == "tcp/[::]:80#keep"
    assert second_name(address) != str(Binding(address, backend).address)
