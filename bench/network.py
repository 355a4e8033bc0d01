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
from bench.rows import Row, at_least
from bench.wrk import HIGH, Sample, Way, wrk
from tests.harness.docker import Dockerd
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

PART = "network"
DEFAULTS = "--iptables=true"
ORIGIN_PORT = 80
PORTS = {"http": 8080, "tcp": 8081, "http, keep": 8082, "tcp, keep": 8083}
DNAT = "Docker's DNAT"
# what -> (ours, what is beside it); the names are those of _ways()
COMPARED = {
    "http mode: table beside none": ("http", "http, no table"),
    "tcp mode: table beside none": ("tcp", "tcp, no table"),
    "http mode: ClientAddress=keep beside off": ("http, keep", "http"),
    "tcp mode: ClientAddress=keep beside off": ("tcp, keep", "tcp"),
    "http mode beside Docker's DNAT": ("http", DNAT),
    "tcp mode beside Docker's DNAT": ("tcp", DNAT),
}


def network(plan: Plan) -> Iterator[Row]:
    """Requests/s on 64 open connections, and connections/s of one request each."""
    where = cores()
    with _ways(plan, where) as ways:
        for each_its_own, what in ((False, "requests/s"), (True, "connections/s")):
            seen: dict[str, list[Sample]] = {name: [] for name in ways}
            for _ in range(plan.times(11, 2)):
                for name, way in ways.items():
                    seen[name].append(wrk(way, HIGH, where, each_its_own=each_its_own))
            for title, (ours, beside) in COMPARED.items():
                mine, others = ([one["requests/s"] for one in seen[name]] for name in (ours, beside))
                target = at_least(0.95) if "table" in title else None
                yield Row(
                    PART, f"{title}: {what}", "/s", mine, others, target, "wrk on another machine, 64 at once"
                )


@contextlib.contextmanager
def _ways(plan: Plan, where: Cores) -> Iterator[dict[str, Way]]:
    engine = plan.engines[0]
    settings = {"log_level": "info"}
    with contextlib.ExitStack() as all_of_it:
        ours = Stack(plan.artifact, engine, DEFAULTS, settings=settings, neighbour=True)
        bare_settings = {**settings, "firewall": False}
        bare = Stack(plan.artifact, engine, DEFAULTS, settings=bare_settings, neighbour=True)
        stock = all_of_it.enter_context(Host(neighbour=True))
        docker = all_of_it.enter_context(Dockerd(stock, engine, None, DEFAULTS))
        for stack in (ours, bare):
            all_of_it.enter_context(stack)
        for name, port in PORTS.items():
            _publish(ours.dockerd, name, port, where)
            if "keep" not in name:
                _publish(bare.dockerd, name, port, where)
        _publish(docker, "tcp", PORTS["tcp"], where)
        bare.host.run("iptables", "-t", "nat", "-F", "DOCKER")
        for stack in (ours, bare):
            pin(where.proxy, stack.envoy.pid)
        eventually(lambda: all(map(_is_led, ours.registrar.bindings())), 20, "all is led to Envoy")
        ways = {name: _way(ours.dockerd, name, ours.envoy.pid) for name in PORTS}
        ways |= {f"{name}, no table": _way(bare.dockerd, name, bare.envoy.pid) for name in ("http", "tcp")}
        ways[DNAT] = _way(docker, "tcp")
        for way in ways.values():
            eventually(lambda w=way: _answers(w), 20, f"{way.address}")  # type: ignore[misc]
        yield ways


def _publish(dockerd: Dockerd, name: str, port: int, where: Cores) -> None:
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
