"""The table follows the listeners, and lets go before any Envoy does; with a firewall that only remembers."""

from collections.abc import Iterable, Mapping
from typing import cast

import trio

from shim.core.binding import Binding
from shim.core.discovery.sessions import Session
from shim.core.firewall.names import FAMILIES
from shim.core.firewall.table import NOTHING, Served, Table, served
from shim.core.leases.lease import Lease
from shim.registrar.api import Api
from shim.registrar.firewall.keeper import Firewall, Status
from shim.registrar.http_connection import Request, Response
from shim.registrar.network import ENVOY_RETURN, HOLD, WITHDRAWAL_TIMEOUT, Way
from tests.builders import QuietState, in_trio, make_binding, make_labelled, make_lease, make_poll

LISTENERS = "/v3/discovery:listeners"
ONE = make_binding(backend_ip="172.17.0.2")
ANY = Served("0.0.0.0", 8080)
WEB, DIRECT = make_labelled("web"), make_labelled("web", mode="direct")


class FakeFirewall:
    """A Firewall that applies what it is told to when the test says so."""

    def __init__(self) -> None:
        self.wanted: list[Table] = []
        self.applied = 0
        self.active, self.reason = True, ""
        self._news = trio.Event()

    def want(self, table: Table) -> int:
        self.wanted.append(table)
        return len(self.wanted)

    def apply(self) -> None:
        self.applied = len(self.wanted)
        self._news.set()
        self._news = trio.Event()

    async def settled(self, generation: int, timeout: float) -> bool:
        with trio.move_on_after(timeout):
            while self.applied < generation:
                await self._news.wait()
        return self.applied >= generation

    @property
    def status(self) -> Status:
        whole = self.applied == len(self.wanted)
        wanted, applied = len(self.wanted), self.applied
        return Status(self.active, self.reason, wanted, applied, whole, "", "", 0, 0.0)


class Registrar:
    """A State with a firewall, and one Envoy."""

    def __init__(
        self,
        *,
        present: Iterable[Served] = (),
        kept: Mapping[Served, int] = NOTHING,
        settled: bool = True,
        envoy: bool = True,
    ) -> None:
        self.state = QuietState(settled=settled)
        self.api = Api(self.state)
        self.firewall = FakeFirewall()
        self.network = self.state.network
        self.network.use(cast(Firewall, self.firewall), Table(frozenset(present), kept))
        # What a host with Docker's defaults has.
        self.network._docker_rules = dict.fromkeys(FAMILIES, True)
        self.envoy: Session | None = None
        if envoy:
            self.envoy_came()

    @property
    def table(self) -> Table:
        return self.firewall.wanted[-1]

    def envoy_came(self) -> None:
        self.envoy = self.state.poll("envoy-1", "", 1)
        self.acknowledge()

    def acknowledge(self) -> None:
        assert self.envoy is not None
        registry, now = self.state.registry, self.state.now()
        for resources, told in (
            (registry.clusters, self.envoy.clusters),
            (registry.listeners, self.envoy.listeners),
        ):
            told.request(resources.version, resources.version, resources.sequence, now)
            self.state.touch()

    def publish(self, binding: Binding = ONE, mode: str = "http", keeps: bool = False) -> Lease:
        lease = make_lease(self.state.registry.newest() + 1, binding, now=self.state.now())
        self.state.registry.add(lease)
        service, serving = make_labelled("web", mode=mode)
        self.state.label((lease, service, serving._replace(keeps_client=keeps)))
        return lease

    def served(self, binding: Binding = ONE, keeps: bool = False) -> Lease:
        lease = self.publish(binding, keeps=keeps)
        self.acknowledge()  # its cluster
        self.acknowledge()
        self.firewall.apply()
        return lease

    def release(self, lease: Lease) -> None:
        self.state.registry.release(lease, self.state.now())
        self.state.touch()

    async def poll(self, version: str) -> Response:
        body = make_poll(version, node="envoy-1")
        return await self.api.handle(Request("POST", LISTENERS, {"host": "envoy"}, body, 1))


@in_trio
async def test_the_table_is_asked_for_once_for_each_change() -> None:
    registrar = Registrar()
    before = len(registrar.firewall.wanted)
    registrar.served()
    assert registrar.table == Table(frozenset([ANY]), local=True)
    assert len(registrar.firewall.wanted) == before + 1
    registrar.state.touch()
    assert len(registrar.firewall.wanted) == before + 1
    assert registrar.network.size == 1


@in_trio
async def test_clients_whose_address_is_kept_are_led_away_before_the_second_listener_goes() -> None:
    registrar = Registrar()
    network = registrar.network
    lease = registrar.served(keeps=True)
    port = registrar.state.registry.second.listed[lease.binding.address].port
    assert registrar.table == Table(frozenset([ANY]), {ANY: port}, local=True)
    assert network.why_not_kept(lease) == ""
    # It has gone for a reason of its own: the first stays.
    assert registrar.envoy is not None
    registrar.envoy.rejected["tcp/0.0.0.0:8080#keep"] = "Setting socket options failed"
    registrar.state.touch()
    assert registrar.table == Table(frozenset([ANY]), local=True)
    assert network.withdrawing
    assert network.why_not_kept(lease) == "Envoy envoy-1 has no CAP_NET_RAW"


@in_trio
async def test_client_addresses_are_kept_over_a_registrars_restart() -> None:
    registrar = Registrar(present=[ANY], kept={ANY: 28999}, settled=False, envoy=False)
    lease = registrar.publish(keeps=True)
    registrar.network.take_over([lease.binding.address])
    registrar.state.settling.settled = True
    registrar.state.registry.list_staged(registrar.state.now())
    registrar.state.touch()
    assert registrar.table == Table(frozenset([ANY]), {ANY: 28999}, local=True)
    registrar.firewall.apply()
    assert registrar.network.why_not_kept(lease) == ""
    registrar.firewall.active, registrar.firewall.reason = False, "no nft program"
    assert registrar.network.why_not_kept(lease) == "no nft program"
    assert registrar.network.why_not_kept(registrar.publish(make_binding(81))) is None


@in_trio
async def test_without_an_envoy_only_the_kernel_leads_there() -> None:
    registrar = Registrar()
    registrar.served()
    registrar.state.connection_closed(1)
    assert registrar.table == Table(frozenset([ANY]), local=False)
    assert not registrar.network.withdrawing
    registrar.envoy_came()
    assert registrar.table == Table(frozenset([ANY]), local=True)


@in_trio
async def test_an_envoy_is_told_of_a_withdrawal_only_after_the_table_let_go() -> None:
    registrar = Registrar()
    lease = registrar.served()
    version = registrar.state.registry.listeners.version
    answered = trio.Event()

    async def hear() -> None:
        assert (await registrar.poll(version)).status == 200
        answered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        await trio.testing.wait_all_tasks_blocked()
        registrar.release(lease)
        assert registrar.table == Table(local=True)
        await trio.testing.wait_all_tasks_blocked()
        assert registrar.network.withdrawing and not answered.is_set()
        registrar.firewall.apply()
        await answered.wait()
    assert trio.current_time() == registrar.state.started_at


@in_trio
async def test_a_table_that_cannot_be_changed_holds_no_envoy_up_for_long() -> None:
    registrar = Registrar()
    lease = registrar.served()
    version = registrar.state.registry.listeners.version
    registrar.release(lease)
    began = trio.current_time()
    assert (await registrar.poll(version)).status == 200
    assert trio.current_time() - began == WITHDRAWAL_TIMEOUT
    assert not registrar.network.withdrawing


@in_trio
async def test_what_is_new_waits_for_no_table() -> None:
    registrar = Registrar()
    registrar.served()
    version = registrar.state.registry.listeners.version
    registrar.publish(make_binding(port=8081))
    registrar.state.registry.list_staged(registrar.state.now())
    began = trio.current_time()
    assert (await registrar.poll(version)).status == 200
    assert trio.current_time() == began


@in_trio
async def test_before_all_is_known_the_predecessors_table_stays_as_it_is() -> None:
    registrar = Registrar(present=(ANY,), settled=False, envoy=False)
    registrar.publish()
    registrar.network.take_over([ONE.address])
    registrar.state.touch()
    assert registrar.firewall.wanted == []
    registrar.state.settling.settled = True
    registrar.state.registry.list_staged(registrar.state.now())
    registrar.state.touch()
    # Its Envoy is taken to be there until it has had time to come back.
    assert registrar.table == Table(frozenset([ANY]), local=True)
    assert registrar.network.due() == registrar.state.started_at + ENVOY_RETURN
    await trio.sleep(ENVOY_RETURN)
    registrar.state.touch()
    assert registrar.table == Table(frozenset([ANY]), local=False)
    assert registrar.network.due() == float("inf")


@in_trio
async def test_what_a_predecessor_left_of_containers_that_are_gone_is_taken_out() -> None:
    registrar = Registrar(present=(ANY, Served("0.0.0.0", 9999)), envoy=False)
    registrar.network.take_over([])
    registrar.state.touch()
    assert registrar.table.served == frozenset()


@in_trio
async def test_a_registrar_whose_predecessor_left_nothing_waits_for_no_envoy() -> None:
    registrar = Registrar(envoy=False)
    registrar.network.take_over([])
    registrar.state.touch()
    assert not registrar.table.local


@in_trio
async def test_a_port_that_is_handed_over_is_held_until_it_is_served_or_time_is_over() -> None:
    registrar = Registrar()
    other = make_binding(port=8081)
    leases = [registrar.served(binding) for binding in (ONE, other)]
    for lease in leases:
        lease.orphan = True
        registrar.state.registry.release_alone(lease, registrar.state.now())
    registrar.state.touch()
    both = frozenset([ANY, Served("0.0.0.0", 8081)])
    assert registrar.table == Table(local=True, held=both)
    for lease in leases:
        registrar.state.registry.end(lease, registrar.state.now())
    registrar.acknowledge()
    registrar.served()
    assert registrar.table == Table(frozenset([ANY]), local=True, held=both - {ANY})
    assert registrar.network.due() == registrar.state.started_at + HOLD
    await trio.sleep(HOLD)
    registrar.state.touch()
    assert registrar.table == Table(frozenset([ANY]), local=True)


@in_trio
async def test_each_way_has_its_reason() -> None:
    registrar = Registrar()
    way = registrar.network.way_to
    registrar.served()
    six = make_binding(ip="::", backend_ip="fd00::2")
    for binding, labelled, expected in (
        (ONE, WEB, Way("envoy")),
        (ONE, DIRECT, Way("docker", "mode direct")),
        (six, WEB, Way("docker", "no Envoy listens there yet")),
        # Docker has no rule that leads from IPv6 to IPv4.
        (make_binding(ip="::"), DIRECT, Way("envoy")),
        (make_binding(ip="::", proto="udp"), None, Way("shim")),
        (make_binding(proto="udp"), None, Way("docker", "UDP is Docker's")),
        (make_binding(ip="127.0.0.1"), WEB, Way("nobody", "a loopback address")),
        (make_binding(ip="::1", proto="udp"), None, Way("nobody", "a loopback address")),
    ):
        assert way(binding, labelled[1] if labelled else None) == expected
    registrar.firewall.want(registrar.table)
    assert way(ONE, WEB[1]) == Way("docker", "the table is being written")
    registrar.firewall.active, registrar.firewall.reason = False, "no nft program"
    assert way(ONE, WEB[1]) == Way("docker", "no nft program")
    registrar.network.firewall = None
    assert way(ONE, WEB[1]) == Way("docker", "firewall: off")
    registrar.network._docker_rules = dict.fromkeys(FAMILIES, False)
    assert way(ONE, WEB[1]) == Way("envoy")
    assert way(make_binding(proto="udp"), None) == Way("shim")
    assert served(ONE.address) == ANY
