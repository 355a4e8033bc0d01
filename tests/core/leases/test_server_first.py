"""Which ports are served as bytes in mode auto: known by number, or seen; what is learnt, for how long."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.binding import Backend
from shim.core.discovery.sessions import Sessions
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import AUTO, BY_LABEL, BY_PORT, BY_SEEN, HTTP, MODES, TCP, Serving
from shim.core.envoy.templates import Templates, origin_of
from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry
from shim.core.leases.server_first import KNOWN_PORTS, LIMIT, ServerFirst, suspects
from shim.core.service import Service, unnamed_service
from tests.builders import make_binding, make_lease, make_service

IMAGES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=90)

UNSAID = Serving(AUTO)


class Host:
    """A registry whose leases are labelled as the registrar labels them."""

    def __init__(self) -> None:
        self.memory = ServerFirst()
        templates = Templates(HttpOptions())
        self.registry = Registry(Sessions(), templates.listener, templates.cluster)

    def start(
        self, port: int, service: Service | None = None, serving: Serving = UNSAID, proto: str = "tcp"
    ) -> Lease:
        """The container's port is 4000."""
        binding = make_binding(port=port, proto=proto)._replace(backend=Backend(f"172.17.0.{port}", 4000))
        lease = make_lease(self.registry.newest() + 1, binding)
        self.registry.add(lease)
        service = service or make_service(container_id=f"{port:012}")
        self.label([(lease, service, serving)])
        return lease

    def label(self, labelled: Iterable[tuple[Lease, Service, Serving]]) -> None:
        for lease, service, serving in labelled:
            decided = self.memory.decided(serving, service.image, lease.binding.backend.port)
            self.registry.label(lease, service, decided, 0.0)
        self.registry.advance(0.0)

    def count(self, *leases: Lease, answered: Iterable[str] = ()) -> None:
        """Envoys count that the containers of these leases speak first."""
        spoke = [origin_of(lease.service, lease.binding.backend) for lease in leases if lease.service]
        self.label(self.memory.take_in(self.registry, spoke, list(answered)))


def mode(lease: Lease) -> tuple[str, str]:
    assert lease.serving is not None
    return lease.serving.mode.name, lease.serving.chosen_by


@pytest.mark.parametrize("port", KNOWN_PORTS)
def test_a_known_port_is_tcp_from_the_first_moment(port: int) -> None:
    decided = ServerFirst().decided(Serving(AUTO), "any", port)
    assert (decided.mode, decided.chosen_by) == (TCP, BY_PORT)


@pytest.mark.parametrize("name", [name for name in MODES if name != "auto"])
@pytest.mark.parametrize("port", [22, 4000])
def test_a_mode_that_is_said_is_never_another(name: str, port: int) -> None:
    memory = ServerFirst()
    memory.learn("image", port)
    said = Serving(MODES[name], "wrong", True, chosen_by=BY_LABEL)
    assert memory.decided(said, "image", port) is said


def test_all_that_is_said_but_the_mode_stays() -> None:
    memory = ServerFirst()
    memory.learn("image", 4000)
    for port, by in ((22, BY_PORT), (4000, BY_SEEN)):
        decided = memory.decided(Serving(AUTO, "wrong", True), "image", port)
        assert decided == Serving(decided.mode, "wrong", True, chosen_by=by)


def test_what_one_container_does_holds_for_that_port_of_its_image_and_no_other() -> None:
    host = Host()
    first, same = host.start(1), host.start(2)
    other = host.start(3, make_service(image="other", container_id="3"))
    told = host.start(4, serving=Serving(HTTP, chosen_by=BY_LABEL))
    host.count(first)
    assert mode(first) == mode(same) == mode(host.start(5)) == ("tcp", "seen")
    assert mode(other) == ("auto", "default")
    assert mode(told) == ("http", "label")
    assert host.memory.decided(Serving(AUTO), "shop/web:1", 4001).mode is AUTO


def test_a_container_that_has_answered_http_is_looked_at_on() -> None:
    host = Host()
    lease = host.start(1)
    host.count(lease, answered=[lease.cluster])
    assert mode(lease) == ("auto", "default")
    assert suspects(host.registry, [origin_of(make_service(container_id=f"{1:012}"), lease.binding.backend)])


def test_nor_does_what_another_of_its_image_does_change_it() -> None:
    host = Host()
    serving, silent = host.start(1), host.start(2)
    host.count(silent, answered=[serving.cluster])
    assert (mode(serving), mode(silent)) == (("auto", "default"), ("tcp", "seen"))
    assert mode(host.start(3)) == ("auto", "default"), "it is not remembered of the image"


def test_without_an_images_name_it_holds_for_that_container_only() -> None:
    host = Host()
    one, other = (host.start(port, unnamed_service(Backend(f"172.17.0.{port}", 4000))) for port in (1, 2))
    host.count(one)
    assert (mode(one), mode(other)) == (("tcp", "seen"), ("auto", "default"))
    assert list(host.memory.lines()) == []


def test_udp_ports_are_nothing_to_ask_envoys_about() -> None:
    host = Host()
    lease = host.start(1, proto="udp")
    host.count(lease)
    assert not lease.is_looked_at
    assert mode(lease) == ("auto", "default")


def test_the_cluster_stays_the_same_so_that_open_connections_do() -> None:
    host = Host()
    lease = host.start(1)
    cluster, version = lease.cluster, host.registry.clusters.version
    host.count(lease)
    assert (lease.cluster, host.registry.clusters.version) == (cluster, version)
    fresh = Host()
    fresh.memory.read("".join(host.memory.lines()))
    fresh.start(1)
    assert fresh.registry.clusters.version == version, "as after a restart of the registrar"
    assert fresh.registry.listeners.version == host.registry.listeners.version


@given(st.lists(st.tuples(IMAGES, st.integers(1, 65535)), max_size=20))
def test_what_is_learnt_survives_a_restart(learnt: list[tuple[str, int]]) -> None:
    memory, later = ServerFirst(), ServerFirst()
    for image, port in learnt:
        memory.learn(image, port)
    later.read("".join(memory.lines()))
    assert list(later.lines()) == list(memory.lines())
    for image, port in learnt:
        assert later.decided(Serving(AUTO), image, port).mode.name == "tcp"


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    memory = ServerFirst()
    memory.read(text)
    again = ServerFirst()
    again.read("".join(memory.lines()))
    assert list(again.lines()) == list(memory.lines())


@pytest.mark.parametrize("line", ["", "x", "0 image", "65536 image", "²2 image", "4000", "4000 ", "-1 image"])
def test_a_line_that_is_none_is_left_out(line: str) -> None:
    memory = ServerFirst()
    memory.read(f"{line}\n4001 good\n")
    assert list(memory.lines()) == ["4001 good\n"]


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = ServerFirst()
    for number in range(LIMIT + 2):
        memory.learn(f"image-{number}", 4000)
    lines = list(memory.lines())
    assert (len(lines), lines[0], lines[-1]) == (LIMIT, "4000 image-2\n", f"4000 image-{LIMIT + 1}\n")
    changes = memory.changes
    memory.learn(f"image-{LIMIT}", 4000)
    assert memory.changes == changes, "nothing new"
