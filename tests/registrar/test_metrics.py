"""`/metrics`: what is counted of bindings, Envoys and what they were sent; for any service, within bounds."""

import os

import pytest
import trio

from shim.core.metrics.text import OPENMETRICS, PROMETHEUS
from shim.registrar.http_connection import Request
from shim.registrar.view import STATES
from shim.wire.traffic import FIELDS, traffic_line
from tests.builders import in_trio, make_binding, make_labelled
from tests.harness.exposition import Exposition, read
from tests.registrar.test_api import CLUSTERS, LISTENERS, Registrar, version_of


async def metrics(registrar: Registrar, accept: str = "") -> Exposition:
    request = Request("GET", "/metrics", {"host": "localhost", "accept": accept}, b"", 9)
    response = await registrar.api.handle(request)
    assert response.status == 200
    openmetrics = response.content_type == OPENMETRICS
    assert openmetrics or response.content_type == PROMETHEUS
    assert not isinstance(response.body, bytes)
    return read(b"".join(response.body).decode(), openmetrics)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
@in_trio
async def test_it_is_well_formed_with_nothing_there_and_with_everything(accept: str) -> None:
    registrar = Registrar()
    empty = await metrics(registrar, accept)
    assert {labels["state"] for labels in empty.of("envoy_docker_shim_bindings")} == set(STATES)
    assert not any(
        value for (name, _), value in empty.samples.items() if name == "envoy_docker_shim_bindings"
    )
    assert empty.of("envoy_docker_shim_service_info") == []
    for number in range(3):
        registrar.publish(make_binding(8080 + number))
    assert set((await metrics(registrar, accept)).kinds) == set(empty.kinds)


@in_trio
async def test_bindings_are_counted_by_state_and_each_cluster_is_told_once() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080))
    registrar.publish(make_binding(8080, ip="::"))
    registrar.publish(make_binding(8081), labelled=None)
    registrar.publish(make_binding(53, proto="udp"))
    odd = make_labelled('a"\\\n{}', "dev", mode="tcp", image='x"\\y')
    registrar.publish(make_binding(8082), labelled=odd)
    found = await metrics(registrar)
    counted = {state: found.value("envoy_docker_shim_bindings", state=state) for state in STATES}
    assert counted == {"pending": 1, "published": 3, "serving": 1, "rejected": 0, "releasing": 0}
    services = {labels["cluster"]: labels for labels in found.of("envoy_docker_shim_service_info")}
    assert len(services) == 2 == len(found.of("envoy_docker_shim_service_info"))
    assert services["web-dev-8080"] == {
        "cluster": "web-dev-8080",
        "service": "web",
        "environment": "dev",
        "container": "web-1",
        "image": "shop/web:1",
        "mode": "http",
    }
    (other,) = set(services) - {"web-dev-8080"}
    assert services[other]["image"] == 'x"\\y' and services[other]["mode"] == "tcp"


@in_trio
async def test_what_an_envoy_was_sent_and_said_is_counted_with_its_time() -> None:
    registrar = Registrar()
    registrar.publish()
    first = await version_of(registrar.poll(LISTENERS, connection=1))
    await version_of(registrar.poll(CLUSTERS, connection=2))
    await trio.sleep(0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registrar.poll, LISTENERS, "")  # without the version: refused
        nursery.start_soon(registrar.poll, CLUSTERS, registrar.state.registry.clusters.version)
        await trio.sleep(0.01)
        found = await metrics(registrar)
        nursery.cancel_scope.cancel()
    assert first
    for name, listeners, clusters in (("pushes", 1, 1), ("acknowledgements", 0, 1), ("rejections", 1, 0)):
        counted = [
            found.value(f"envoy_docker_shim_{name}_total", kind=kind) for kind in ("listeners", "clusters")
        ]
        assert counted == [listeners, clusters], name
    took = {
        bound: found.value("envoy_docker_shim_push_duration_seconds_bucket", kind="clusters", le=bound)
        for bound in ("0.1", "0.25")
    }
    assert took == {"0.1": 0, "0.25": 1}
    assert found.value("envoy_docker_shim_envoys") == 1
    assert found.value("envoy_docker_shim_envoy_current", node="envoy-1", kind="clusters") == 1
    assert found.value("envoy_docker_shim_envoy_current", node="envoy-1", kind="listeners") == 0


@in_trio
async def test_what_relays_tell_is_added_up_over_their_sleep_and_ends_with_the_port() -> None:
    registrar = Registrar()
    leases = [registrar.publish(make_binding(53, ip=ip, proto="udp")) for ip in ("0.0.0.0", "::")]
    pending = registrar.publish(make_binding(54, proto="udp"), None)
    traffic = registrar.state.shims.udp_traffic
    numbers = dict.fromkeys(FIELDS, 1) | {"requests": 10, "reply_bytes": 2000, "clients": 3}
    for lease in (leases[0], leases[0], pending):
        traffic.told(lease.id, traffic_line(numbers))
    traffic.told(leases[1].id, "counted 1")
    port = {"address": "0.0.0.0:53", "service": "web", "environment": "dev", "container": "web-1"}
    found = await metrics(registrar, "application/openmetrics-text")
    assert found.value("envoy_docker_shim_udp_datagrams_total", **port, direction="in") == 20
    assert found.value("envoy_docker_shim_udp_bytes_total", **port, direction="out") == 4000
    assert found.value("envoy_docker_shim_udp_dropped_total", **port, reason="no_room") == 2
    assert found.value("envoy_docker_shim_udp_clients", **port) == 3
    assert found.value("envoy_docker_shim_udp_relays") == 2
    assert len(found.of("envoy_docker_shim_udp_clients")) == 2
    traffic.parked(leases[0].id)
    found = await metrics(registrar)
    assert found.value("envoy_docker_shim_udp_datagrams_total", **port, direction="in") == 20
    assert found.value("envoy_docker_shim_udp_clients", **port) == 0
    traffic.told(leases[0].id, traffic_line(numbers))
    found = await metrics(registrar)
    assert found.value("envoy_docker_shim_udp_datagrams_total", **port, direction="in") == 30
    for lease in (leases[0], pending):
        traffic.ended(lease.id)
    assert (await metrics(registrar)).of("envoy_docker_shim_udp_clients") == []


@in_trio
async def test_an_envoy_that_does_not_count_is_not_counted() -> None:
    registrar = Registrar()
    registrar.api = type(registrar.api)(registrar.state, lambda user: False)
    registrar.publish()
    await version_of(registrar.poll(LISTENERS))
    found = await metrics(registrar)
    assert found.value("envoy_docker_shim_envoys") == 0
    assert found.value("envoy_docker_shim_pushes_total", kind="listeners") == 0
    assert found.of("envoy_docker_shim_envoy_current") == []


@in_trio
async def test_the_process_figures_are_this_processs() -> None:
    found = await metrics(Registrar())
    assert (
        10 << 20 < found.value("process_resident_memory_bytes") < found.value("process_virtual_memory_bytes")
    )
    assert 3 <= found.value("process_open_fds") < found.value("process_max_fds")
    assert 0 < found.value("process_cpu_seconds_total") <= sum(os.times()[:2]) + 0.1
    began = os.stat(f"/proc/{os.getpid()}").st_ctime
    assert abs(found.value("process_start_time_seconds") - began) < 3600
