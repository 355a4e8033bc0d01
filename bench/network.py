"""HTTP and TCP from another machine: with the firewall's table and without, and with client addresses kept.

Three machines with Docker's own firewall rules, and a client on the wire of each: ours; ours without a
table, where Docker's rules for the ports were taken away, so that all else is the same; and stock Docker,
whose rules lead past any proxy.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from bench.compiled import compiled
from bench.plan import Cores, Plan, cores
from bench.processes import pin
from bench.rows import Row, Target, at_least, at_most
from bench.wrk import HIGH, Sample, Way, wrk
from tests.harness.docker import Dockerd
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

PART = "network"
NOTE = "wrk on another machine, 64 at once; CPU is Envoy's, the container's and wrk's"
DEFAULTS = "--iptables=true"
ORIGIN_PORT = 80
PORTS = {"http": 8080, "tcp": 8081, "http, keep": 8082, "tcp, keep": 8083}
DNAT = "Docker's DNAT"
# what -> (ours, what is beside it); the names are those of _ways() and _kept()
COMPARED = {
    "http mode: table beside none": ("http", "http, no table"),
    "tcp mode: table beside none": ("tcp", "tcp, no table"),
    "http mode beside Docker's DNAT": ("http", DNAT),
    "tcp mode beside Docker's DNAT": ("tcp", DNAT),
}
KEPT = {
    "http mode: ClientAddress=keep beside off": ("http, keep", "http"),
    "tcp mode: ClientAddress=keep beside off": ("tcp, keep", "tcp"),
}


def network(plan: Plan) -> Iterator[Row]:
    """Requests/s on 64 open connections, and connections/s of one request each."""
    where = cores()
    with _ways(plan, where) as (ours, ways):
        yield from _rows(plan, where, ways, COMPARED)
        # The table has more rules from now on.
        kept = _kept(ours, where)
        yield from _rows(plan, where, {name: ways[name] for name in ("http", "tcp")} | kept, KEPT)


def _rows(
    plan: Plan, where: Cores, ways: Mapping[str, Way], compared: Mapping[str, tuple[str, str]]
) -> Iterator[Row]:
    for each_its_own, what in ((False, "requests/s"), (True, "connections/s")):
        seen: dict[str, list[Sample]] = {name: [] for name in ways}
        for _ in range(plan.times(11, 2)):
            for name, way in ways.items():
                seen[name].append(wrk(way, HIGH, where, each_its_own=each_its_own))
        for title, (ours, beside) in compared.items():
            for figure, told, unit in (
                ("requests/s", what, "/s"),
                ("CPU in all", f"CPU of one, {what}", "µs"),
            ):
                mine, others = ([one[figure] for one in seen[name]] for name in (ours, beside))
                yield Row(PART, f"{title}: {told}", unit, mine, others, _target(title, unit), NOTE)


def _target(title: str, unit: str) -> Target | None:
    if "table" not in title:
        return None
    return at_least(0.95) if unit == "/s" else at_most(1.05)


@contextlib.contextmanager
def _ways(plan: Plan, where: Cores) -> Iterator[tuple[Stack, dict[str, Way]]]:
    engine = plan.engines[0]
    with contextlib.ExitStack() as all_of_it:
        ours, bare = (
            all_of_it.enter_context(
                Stack(
                    plan.artifact,
                    engine,
                    DEFAULTS,
                    settings={"log_level": "info", "firewall": table},
                    neighbour=True,
                )
            )
            for table in (True, False)
        )
        stock = all_of_it.enter_context(Host(neighbour=True))
        docker = all_of_it.enter_context(Dockerd(stock, engine, None, DEFAULTS))
        for name in ("http", "tcp"):
            for dockerd in (ours.dockerd, bare.dockerd):
                _publish(dockerd, name, where)
        _publish(docker, "tcp", where)
        bare.host.run("iptables", "-t", "nat", "-F", "DOCKER")
        for stack in (ours, bare):
            pin(where.proxy, stack.envoy.pid)
        _wait_until_led(ours, 2)
        ways = {name: _way(ours.dockerd, name, ours.envoy.pid) for name in ("http", "tcp")}
        ways |= {f"{name}, no table": _way(bare.dockerd, name, bare.envoy.pid) for name in ("http", "tcp")}
        ways[DNAT] = _way(docker, "tcp")
        for way in ways.values():
            eventually(lambda w=way: _answers(w), 20, f"{way.address}")  # type: ignore[misc]
        yield ours, ways


def _kept(ours: Stack, where: Cores) -> dict[str, Way]:
    names = [name for name in PORTS if "keep" in name]
    for name in names:
        _publish(ours.dockerd, name, where)
    _wait_until_led(ours, len(PORTS))
    return {name: _way(ours.dockerd, name, ours.envoy.pid) for name in names}


def _wait_until_led(ours: Stack, ports: int) -> None:
    """Both IP versions of each port."""
    eventually(lambda: sum(map(_is_led, ours.registrar.bindings())) == 2 * ports, 20, "all is led to Envoy")


def _publish(dockerd: Dockerd, name: str, where: Cores) -> None:
    port = PORTS[name]
    mode, _, keep = name.partition(", ")
    labels = {"ProxyMode": mode, **({"ClientAddress": keep} if keep else {})}
    origin = f"--volume={compiled('origin')}:/origin:ro"
    container = name.replace(", ", "-")
    dockerd.run(f"-p{port}:80", origin, cmd=["/origin", str(ORIGIN_PORT)], name=container, labels=labels)
    pin(where.load, _inside(dockerd, name))


def _inside(dockerd: Dockerd, name: str) -> int:
    return int(dockerd.api(f"/containers/{name.replace(', ', '-')}/json")["State"]["Pid"])


def _way(dockerd: Dockerd, name: str, *carriers: int) -> Way:
    host = dockerd.host
    return Way(host.neighbour, (host.ip, PORTS[name]), carriers, _inside(dockerd, name))


def _answers(way: Way) -> bool:
    host, port = way.address
    return way.source.http_get(f"http://{host}:{port}/").status == 200


def _is_led(binding: Mapping[str, Any]) -> bool:
    """Whether network clients are led to Envoy, and by IPv4 seen as themselves where that is wanted."""
    kept = binding["client_address"]
    seen = kept is None or kept["kept"] or ":" in binding["address"]
    return bool(binding["state"] == "serving" and binding["network"]["by"] == "envoy" and seen)
