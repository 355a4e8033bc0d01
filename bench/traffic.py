"""HTTP and TCP to a container: through Envoy in both modes, through docker-proxy, and straight to it."""

import json
from collections.abc import Iterator, Sequence

from bench.compiled import compiled
from bench.machines import Machine, machines
from bench.plan import Cores, Plan, cores
from bench.processes import cpu_seconds, on_core, pin
from bench.rows import Row
from bench.shims import OURS, PEER
from bench.wrk import HIGH, LOW, Sample, Way, figures, wrk
from tests.harness.wait import eventually

ORIGIN_PORT, IPERF_PORT = 80, 5201
HTTP, TCP, BULK, AUTO = 8080, 8081, 8082, 8083  # published; TCP and BULK in tcp mode where there are modes
DIRECT = "direct"


def traffic(plan: Plan) -> Iterator[Row]:
    engine = plan.engines[0]
    where = cores()
    with machines(plan, engine) as both:
        for machine in both.values():
            _publish(machine, where)
        yield from _http(plan, both, where)
        yield from _bulk(plan, both, where)


def _publish(machine: Machine, where: Cores) -> None:
    origin = f"--volume={compiled('origin')}:/origin:ro"
    libraries = [f"--volume={tree}:{tree}:ro" for tree in ("/usr", "/lib", "/lib64")]
    dockerd = machine.dockerd
    serve = ["/origin", str(ORIGIN_PORT)]
    dockerd.run(f"-p{HTTP}:80", origin, cmd=serve, name="http", labels={"ProxyMode": "http"})
    dockerd.run(f"-p{AUTO}:80", origin, cmd=serve, name="auto", labels={"ProxyMode": "auto"})
    mode = {"ProxyMode": "tcp"}
    dockerd.run(f"-p{TCP}:80", origin, cmd=serve, name="tcp", labels=mode)
    iperf3 = ["/usr/bin/iperf3", "-s", "-p", str(IPERF_PORT)]
    dockerd.run(f"-p{BULK}:{IPERF_PORT}", *libraries, cmd=iperf3, name="bulk", labels=mode)
    for port in (HTTP, TCP, AUTO):
        url = f"http://127.0.0.1:{port}/"
        eventually(lambda url=url: machine.host.http_get(url).status == 200, 20, url)  # type: ignore[misc]
    machine.served(4)
    pin(where.load, *(_inside(machine, name) for name in ("http", "auto", "tcp", "bulk")))
    pin(where.proxy, *_carriers(machine))


def _carriers(machine: Machine) -> list[int]:
    """The processes that carry the bytes."""
    return machine.proxies() if machine.stack is None else [machine.stack.envoy.pid]


def _inside(machine: Machine, container: str) -> int:
    return int(machine.dockerd.api(f"/containers/{container}/json")["State"]["Pid"])


def _way(machine: Machine, container: str, port: int) -> Way:
    return Way(machine.host, ("127.0.0.1", port), _carriers(machine), _inside(machine, container))


def _direct(machine: Machine, container: str, port: int) -> Way:
    return Way(machine.host, (machine.dockerd.ip(container), port), [], _inside(machine, container))


def _http(plan: Plan, both: dict[str, Machine], where: Cores) -> Iterator[Row]:
    ways = {
        PEER: _way(both[PEER], "tcp", TCP),
        "http": _way(both[OURS], "http", HTTP),
        "auto": _way(both[OURS], "auto", AUTO),
        "tcp": _way(both[OURS], "tcp", TCP),
        DIRECT: _direct(both[OURS], "http", ORIGIN_PORT),
    }
    for connections in (LOW, HIGH):
        seen: dict[str, list[Sample]] = {name: [] for name in ways}
        for turn in range(plan.times(21 if connections == HIGH else 11, 3)):
            for name, way in ways.items():
                if name != DIRECT or turn < 5:
                    seen[name].append(wrk(way, connections, where))
        note = f"wrk, {connections} connection{'s' * (connections > 1)}; docker-proxy knows no modes"
        for mode in ("http", "auto", "tcp"):
            for what, unit in figures(connections):
                yield _row(
                    f"{mode} mode, {connections} conn.: {what}", unit, what, seen[mode], seen[PEER], note
                )
        if connections == HIGH:
            title, field = "auto mode beside http mode, 64 conn.: requests/s", "requests/s"
            yield _row(title, "/s", field, seen["auto"], seen["http"], note)
            yield _row(
                "ceiling, wrk straight to the container",
                "/s",
                "requests/s",
                seen[DIRECT],
                None,
                "no proxy between",
            )
    del ways[DIRECT]
    yield from _connections(plan, ways, where)


def _connections(plan: Plan, ways: dict[str, Way], where: Cores) -> Iterator[Row]:
    seen: dict[str, list[Sample]] = {name: [] for name in ways}
    for _ in range(plan.times(21, 3)):
        for name, samples in seen.items():
            samples.append(wrk(ways[name], HIGH, where, each_its_own=True))
    note = f"wrk, {HIGH} clients, a connection for each request"
    for mode in ("http", "auto", "tcp"):
        for what, unit, field in (
            ("connections/s", "/s", "requests/s"),
            ("CPU per connection", "µs", "CPU per request"),
        ):
            yield _row(f"{mode} mode: {what}", unit, field, seen[mode], seen[PEER], note)
            if mode == "auto":
                yield _row(f"auto mode beside http mode: {what}", unit, field, seen[mode], seen["http"], note)


def _bulk(plan: Plan, both: dict[str, Machine], where: Cores) -> Iterator[Row]:
    ways = {
        PEER: _way(both[PEER], "bulk", BULK),
        OURS: _way(both[OURS], "bulk", BULK),
        DIRECT: _direct(both[OURS], "bulk", IPERF_PORT),
    }
    for what, flags in (("to the container", []), ("from the container", ["-R"])):
        seen: dict[str, list[Sample]] = {name: [] for name in ways}
        for turn in range(plan.times(7, 2)):
            for name, way in ways.items():
                if name != DIRECT or turn < 3:
                    seen[name].append(_iperf(way, flags, where))
        note = "iperf3, one connection, tcp mode"
        yield _row(f"TCP {what}", "GB/s", "GB/s", seen[OURS], seen[PEER], note)
        yield _row(f"TCP {what}: CPU per GB", "s", "CPU per GB", seen[OURS], seen[PEER], note)
        yield _row(f"TCP {what}: ceiling", "GB/s", "GB/s", seen[DIRECT], None, "no proxy between")


def _iperf(way: Way, flags: Sequence[str], where: Cores) -> Sample:
    host, port = way.address
    argv = ["iperf3", "-c", host, "-p", str(port), "-t", "1", "-J", *flags]

    def measure() -> Sample:
        before = cpu_seconds(*way.carriers)
        found = json.loads(way.source.run(*on_core(where.load, argv)))
        # The server takes one client at a time, and learns through the proxy that the last one is gone.
        assert "sum_received" in found["end"], found.get("error", found["end"])
        cpu = cpu_seconds(*way.carriers) - before
        received = found["end"]["sum_received"]
        gigabytes = received["bytes"] / 1e9
        return {"GB/s": gigabytes / received["seconds"], "CPU per GB": cpu / gigabytes}

    return eventually(measure, 10, "an iperf3 run")


def _row(what: str, unit: str, field: str, ours: list[Sample], peer: list[Sample] | None, note: str) -> Row:
    theirs = None if peer is None else [sample[field] for sample in peer]
    return Row("traffic", what, unit, [sample[field] for sample in ours], theirs, note=note)
