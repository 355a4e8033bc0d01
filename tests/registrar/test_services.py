"""`/services`: each service once, with the state of its worst port, and what passed it."""

import json
from typing import Any

import trio

from shim.core.doctor.problems import SHOWN
from shim.core.traffic.statistics import FIELDS, Statistics
from shim.registrar.http_connection import Request
from shim.registrar.problems import PATIENCE
from shim.registrar.traffic import EVERY, LOOKED, Traffic
from shim.wire.traffic import FIELDS as RELAYED
from shim.wire.traffic import traffic_line
from tests.builders import in_trio, make_binding, make_labelled
from tests.registrar.test_api import LISTENERS, Registrar, version_of

WEB = make_labelled("web", "dev")
ENVOY = (0, "envoy-1")
COUNTS = dict.fromkeys(FIELDS, 0)


async def read(registrar: Registrar, path: str = "/services") -> Any:
    response = await registrar.api.handle(Request("GET", path, {"host": "localhost"}, b"", 9))
    assert response.status == 200
    body = response.body
    return json.loads(body if isinstance(body, bytes) else b"".join(body))


def take(registrar: Registrar, cluster: str, moment: float, latencies: bytes = b"", **counts: int) -> None:
    """An Envoy says this of a cluster."""
    found = Statistics()
    found.counts[cluster] = [{**COUNTS, **counts}[field] for field in FIELDS]
    if latencies:
        found.latencies[cluster] = latencies
    for _ in registrar.state.traffic.taking(moment, {ENVOY: found}, {ENVOY}):
        pass


@in_trio
async def test_a_service_is_one_row_with_all_its_addresses_and_its_worst_state() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), WEB)
    await version_of(registrar.poll(LISTENERS, connection=1))
    registrar.publish(make_binding(8080, ip="::"), WEB)
    for ip in ("0.0.0.0", "::"):
        registrar.publish(make_binding(53, ip=ip, proto="udp"))
    registrar.publish(make_binding(8081), labelled=None)
    found = await read(registrar)
    rows = {row["id"]: row for row in found["services"]}
    assert set(rows) == {"web-dev-8080", "udp/0.0.0.0:53", "tcp/0.0.0.0:8081"}
    web = rows["web-dev-8080"]
    assert web["addresses"] == ["0.0.0.0:8080", "[::]:8080"]
    assert (web["service"], web["container"], web["image"]) == ("web", "web-1", "shop/web:1")
    assert (web["state"], web["mode"], web["why"]) == ("published", "http", "")
    assert (rows["tcp/0.0.0.0:8081"]["state"], rows["tcp/0.0.0.0:8081"]["service"]) == ("pending", None)
    assert rows["udp/0.0.0.0:53"]["addresses"] == ["0.0.0.0:53", "[::]:53"]
    assert found["warming"] and web["requests"] is None and web["total"]["requests"] == 0


@in_trio
async def test_rates_success_and_percentiles_are_of_the_last_seconds_and_totals_of_all() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), WEB)
    take(registrar, "web-dev-8080", 100, b"5,0.1:7", requests=1000, answered=1000, failed=500)
    counts = {"requests": 1020, "answered": 1020, "failed": 501, "received": 400, "sent": 800, "open": 3}
    take(registrar, "web-dev-8080", 102, b"5,0.1:7, 50,1:20", connects=4, **counts)
    (row,) = (await read(registrar))["services"]
    assert (row["requests"], row["success"], row["connections"], row["connects"]) == (10, 0.95, 3, 2)
    assert (row["in"], row["out"]) == (200, 400)
    assert 50 <= row["p50"] < row["p95"] < row["p99"] <= 51
    assert row["total"] == {
        "requests": 1020,
        "failed": 501,
        "connects": 4,
        "bytes_in": 400,
        "bytes_out": 800,
        "packets_in": None,
        "packets_out": None,
    }


@in_trio
async def test_bytes_have_no_requests() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(5432), make_labelled("db", mode="tcp"))
    for moment in (100, 102):
        take(registrar, "db-5432", moment, connects=moment)
    (row,) = (await read(registrar))["services"]
    assert (row["requests"], row["success"], row["p50"], row["connects"]) == (None, None, None, 1)


@in_trio
async def test_udp_is_what_relays_tell() -> None:
    registrar = Registrar()
    lease = registrar.publish(make_binding(53, proto="udp"))
    numbers = dict.fromkeys(RELAYED, 0) | {"requests": 50, "request_bytes": 500, "replies": 20, "clients": 2}
    for _ in range(3):
        await trio.sleep(5)
        registrar.state.shims.udp_traffic.told(lease.id, traffic_line(numbers))
    (row,) = (await read(registrar))["services"]
    assert (row["mode"], row["packets_in"], row["packets_out"], row["in"]) == ("udp", 10, 4, 100)
    assert (row["connections"], row["total"]["packets_in"]) == (2, 150)


@in_trio
async def test_its_problems_are_those_of_status() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), make_labelled(problem="ProxyMode=ftp is none of the modes"))
    found = await read(registrar)
    assert found["problems"][0].startswith("Docker is not reachable")
    assert "tcp/0.0.0.0:8080 (web): ProxyMode=ftp is none of the modes" in found["problems"]
    assert found["services"][0]["why"] == "ProxyMode=ftp is none of the modes"


@in_trio
async def test_a_container_that_takes_no_connections_is_a_problem() -> None:
    registrar = Registrar()
    for port in range(8080, 8090):
        registrar.publish(make_binding(port, backend_ip=f"172.17.0.{port - 8000}"), WEB)
    assert not [line for line in (await read(registrar))["problems"] if "takes" in line]
    for moment in (100, 102):
        found = Statistics()
        for port in range(8080, 8090):
            found.counts[f"web-dev-{port}"] = [moment if field == "unreachable" else 0 for field in FIELDS]
        for _ in registrar.state.traffic.taking(moment, {ENVOY: found}, {ENVOY}):
            pass
    found_now = await read(registrar)
    assert {row["why"] for row in found_now["services"]} == {"its container takes no connections"}
    *told, rest = found_now["problems"][-SHOWN - 1 :]
    assert told[0] == "web-1 takes no connections on port 80, published as tcp/0.0.0.0:8080: 2 failed in 10 s"
    assert len({line for line in told if "takes no connections" in line}) == SHOWN
    assert rest == f"and so do those of {10 - SHOWN} other services"


@in_trio
async def test_an_envoy_that_hangs_is_a_problem() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), WEB)
    await version_of(registrar.poll(LISTENERS, connection=1))
    assert "acknowledged" not in str((await read(registrar))["problems"])
    await trio.sleep(PATIENCE + 1)
    assert "Envoy envoy-1 has not acknowledged the current listeners" in (await read(registrar))["problems"]


@in_trio
async def test_it_is_made_once_for_all_who_ask_and_anew_after_a_look() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), WEB)
    first = await read(registrar)
    response = await registrar.api.handle(Request("GET", "/services", {"host": "localhost"}, b"", 9))
    assert isinstance(response.body, bytes) and json.loads(response.body) == first
    take(registrar, "web-dev-8080", 100)
    response = await registrar.api.handle(Request("GET", "/services", {"host": "localhost"}, b"", 9))
    assert not isinstance(response.body, bytes)


@in_trio
async def test_those_who_read_slowly_have_no_copy_each_and_keep_nobody_from_the_next() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), WEB)
    request = Request("GET", "/services", {"host": "localhost"}, b"", 9)
    slow = [await registrar.api.handle(request) for _ in range(3)]
    made = registrar.state.traffic.answers
    assert made.making == {"/services": 0} and not made.made
    take(registrar, "web-dev-8080", 100)
    assert json.loads(b"".join((await registrar.api.handle(request)).body))  # type: ignore[arg-type]
    assert made.made["/services"][1] == 1 and not made.making
    whole = made.made["/services"][2]
    for response in slow:
        assert not isinstance(response.body, bytes) and json.loads(b"".join(response.body))
    assert made.made["/services"][2] is whole


@in_trio
async def test_the_history_has_a_point_for_each_five_seconds_somebody_looked() -> None:
    registrar = Registrar()
    registrar.publish(make_binding(8080), WEB)
    for number in range(8):
        take(registrar, "web-dev-8080", 100 + EVERY * number, requests=10 * number)
    found = await read(registrar, "/services/history?id=web-dev-8080")
    assert found["every"] == 5 and found["series"]["requests"][-2:] == [5, 5]
    assert set(found["series"]["requests"][:-2]) == {None}
    assert (await read(registrar, "/services/history"))["requests"] == {
        "web-dev-8080": found["series"]["requests"]
    }


@in_trio
async def test_nobody_is_asked_anything_once_nobody_looks() -> None:
    traffic = Traffic(trio.current_time)
    woken: list[float] = []

    async def watch() -> None:
        while True:
            await traffic.wait_until_wanted()
            woken.append(trio.current_time())
            await trio.sleep(EVERY)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(1000)
        assert not woken
        traffic.want()
        await trio.sleep(1000)
        assert 0 < len(woken) <= LOOKED / EVERY + 1
        nursery.cancel_scope.cancel()
