"""Which addresses the firewall's table is to have, as leases and Envoys come and go."""

from shim.core.binding import Address
from shim.core.discovery.sessions import Session
from shim.core.leases.lease import Lease
from shim.core.leases.served import ServedAddresses
from tests.builders import make_binding, make_labelled
from tests.core.leases.test_registry import Host

WEB, DIRECT = make_labelled("web"), make_labelled("web", mode="direct")
ONE, TWO = make_binding(backend_ip="172.17.0.2"), make_binding(backend_ip="172.17.0.3")
OTHER = make_binding(port=8081)


class Served:
    """ServedAddresses beside the registry it looks at."""

    def __init__(self) -> None:
        self.host = Host()
        self.addresses = ServedAddresses(self.host.registry, self.host.sessions)

    def now(self) -> frozenset[Address]:
        self.addresses.update()
        return self.addresses.addresses

    def served_lease(self) -> tuple[Lease, Session]:
        lease = self.host.start(ONE, WEB)
        envoy = self.host.envoy()
        assert self.now() == {ONE.address}
        return lease, envoy

    def gone(self, *envoys: Session) -> None:
        for envoy in envoys:
            for connection in list(envoy.connections):
                self.host.sessions.closed(connection)


def test_an_address_is_served_once_an_envoy_has_acknowledged_its_listener_and_not_before() -> None:
    served = Served()
    envoy = served.host.sessions.poll("envoy", "", 1, 0.0)
    assert (served.now(), served.addresses.envoy_is_there) == (frozenset(), False)
    served.host.start(ONE)
    assert served.now() == frozenset()
    served.host.label(next(iter(served.host.registry)), WEB)
    served.host.clusters_processed()
    assert (served.now(), served.addresses.envoy_is_there) == (frozenset(), False)
    served.host.listeners_processed()
    assert served.now() == {ONE.address} and served.addresses.envoy_is_there
    assert envoy.trusted


def test_a_look_says_whether_anything_is_new_and_costs_nothing_otherwise() -> None:
    served = Served()
    assert not served.addresses.update()
    served.host.start(ONE, WEB)
    served.host.envoy()
    assert served.addresses.update()
    assert not served.addresses.update()


def test_one_of_two_envoys_is_enough() -> None:
    served = Served()
    served.host.envoy("envoy-1")
    served.host.sessions.poll("envoy-2", "", 2, 0.0)
    served.host.start(ONE, WEB)
    served.host.advance(1.0)  # the second is slow
    listeners, envoy = served.host.registry.listeners, next(iter(served.host.sessions))
    assert served.now() == frozenset()
    envoy.listeners.request(listeners.version, listeners.version, listeners.sequence, served.host.now)
    assert served.now() == {ONE.address}


def test_an_envoy_whose_word_does_not_count_serves_nothing() -> None:
    served = Served()
    served.host.start(ONE, WEB)
    served.host.sessions.poll("envoy", "", 1, 0.0, user=4711, trusted=False)
    served.host.clusters_processed()
    served.host.listeners_processed()
    assert (served.now(), served.addresses.envoy_is_there) == (frozenset(), False)


def test_envoys_death_takes_nothing_out_and_is_known() -> None:
    served = Served()
    _, envoy = served.served_lease()
    served.gone(envoy)
    assert served.now() == {ONE.address} and not served.addresses.envoy_is_there
    served.host.sessions.poll("envoy", "", 2, 0.0)
    assert served.now() == {ONE.address} and not served.addresses.envoy_is_there


def test_an_address_is_out_as_soon_as_its_listener_is_withdrawn() -> None:
    """... while Envoy, that is not told yet, still listens."""
    served = Served()
    lease, _ = served.served_lease()
    served.host.registry.release(lease, served.host.now)
    assert served.now() == frozenset()
    # The next container with that port begins anew.
    served.host.end(lease)
    served.host.start(TWO, WEB)
    served.host.clusters_processed()
    assert served.now() == frozenset()
    served.host.listeners_processed()
    assert served.now() == {ONE.address}


def test_a_listener_that_replaces_another_is_served_without_a_gap() -> None:
    served = Served()
    old, _ = served.served_lease()
    new = served.host.start(TWO, WEB)
    assert served.now() == {ONE.address}
    served.host.end(old)
    assert served.now() == {ONE.address}
    served.host.label(new, make_labelled("other", mode="tcp"))
    assert served.now() == {ONE.address}
    # Somebody else's news while its clusters are on their way.
    served.host.start(OTHER, WEB)
    served.host.sessions.poll("another", "", 9, served.host.now)
    assert served.now() == {ONE.address}
    served.host.clusters_processed()
    assert served.now() == {ONE.address}


def test_a_listener_that_envoy_refuses_is_not_served_also_where_it_was() -> None:
    served = Served()
    lease, envoy = served.served_lease()
    served.host.start(OTHER, WEB)
    served.host.clusters_processed()
    envoy.rejected[str(OTHER.address)] = "Address already in use"
    served.host.listeners_processed()
    assert served.now() == {ONE.address}
    envoy.rejected[str(ONE.address)] = "so"
    assert served.now() == {ONE.address} - {lease.binding.address}
    envoy.rejected.clear()
    assert served.now() == {ONE.address, OTHER.address}


def test_a_listener_that_one_envoy_refuses_is_served_while_another_one_has_it() -> None:
    served = Served()
    served.host.start(ONE, WEB)
    one, other = served.host.envoy("one"), served.host.envoy("other")
    other.rejected[str(ONE.address)] = "in use"
    assert served.now() == {ONE.address}
    served.gone(one)
    assert served.now() == frozenset()


def test_a_mode_that_leaves_the_network_to_docker_is_not_served() -> None:
    served = Served()
    lease, _ = served.served_lease()
    served.host.label(lease, DIRECT)
    served.host.clusters_processed()
    assert served.now() == frozenset()
    served.host.listeners_processed()
    assert served.now() == frozenset()


def test_what_a_predecessor_served_stays_until_its_listener_goes() -> None:
    served = Served()
    lease = served.host.start(ONE, WEB)
    served.addresses.inherit(frozenset([ONE.address, OTHER.address]), {})
    assert served.now() == {ONE.address}  # of the other there is no lease
    served.host.release(lease)
    assert served.now() == frozenset()


def test_ports_that_are_handed_over_are_those_of_orphans_that_are_to_end() -> None:
    served = Served()
    lease, _ = served.served_lease()
    lease.orphan = True
    assert served.addresses.handed_over == frozenset()
    served.host.registry.release_alone(lease, served.host.now)
    nothing: frozenset[Address] = frozenset()
    assert (served.now(), served.addresses.handed_over) == (nothing, frozenset([ONE.address]))
    served.host.end(lease)
    served.host.start(TWO, WEB)
    served.host.clusters_processed()
    assert (served.now(), served.addresses.handed_over) == (nothing, nothing)
