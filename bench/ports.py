"""Containers with many published ports: how long `docker run` and `docker rm -f` take, and what stays."""

from collections.abc import Iterator

from bench.machines import Machine, machines
from bench.plan import Plan
from bench.processes import available, private_total
from bench.rows import Row, at_most
from bench.shims import BOTH, OURS, PEER

UDP_PORTS = 500
FIRST_UDP = 49152
FIRST_TCP = 20000
MEGABYTE = 1024 / 1e6  # one of the kernel's kB in MB
GROWTH = (1, 10, 100, 1000)

Samples = dict[str, dict[str, list[float]]]  # kind, then what


def hundred(plan: Plan) -> Iterator[Row]:
    """100 TCP ports, in both address families."""
    for engine in plan.engines:
        seen: Samples = {kind: {"run": [], "rm": []} for kind in BOTH}
        with machines(plan, engine) as both:
            for _ in range(plan.times(5, 1)):
                for kind in BOTH:
                    machine = both[kind]
                    seen[kind]["run"].append(machine.publish(_range(FIRST_TCP, 100)))
                    machine.served(100)
                    machine.settle()
                    seen[kind]["rm"].append(machine.remove())
                    machine.settle()
        for what, command in (("run", "docker run"), ("rm", "docker rm -f")):
            yield _row(
                "ports-100",
                f"engine {engine}: {command}, 100 TCP ports",
                what,
                seen,
                3.0,
                "`-p 20000-20099:20000-20099`, IPv4 and IPv6; Envoy serves them all before the removal",
            )


def single(plan: Plan) -> Iterator[Row]:
    """One TCP port, in both address families; most of it is the container's own start."""
    for engine in plan.engines:
        seen: Samples = {kind: {"run": [], "rm": []} for kind in BOTH}
        with machines(plan, engine) as both:
            for _ in range(plan.times(31, 3)):
                for kind in BOTH:
                    machine = both[kind]
                    seen[kind]["run"].append(machine.publish(_range(FIRST_TCP, 1)))
                    machine.served(1)
                    seen[kind]["rm"].append(machine.remove())
        for what, command in (("run", "docker run"), ("rm", "docker rm -f")):
            note = "IPv4 and IPv6; by turns, so that other load on the machine is on both"
            yield _row("one-port", f"engine {engine}: {command}, 1 TCP port", what, seen, None, note)


def udp500(plan: Plan) -> Iterator[Row]:
    for engine in plan.engines[:1] if plan.quick else plan.engines:
        seen: Samples = {kind: {} for kind in BOTH}
        with machines(plan, engine) as both:
            for _ in range(plan.times(3, 1)):
                for kind in BOTH:
                    _note(seen[kind], _publish_and_weigh(both[kind], f"{_range(FIRST_UDP, UDP_PORTS)}/udp"))
        name = f"engine {engine}: {UDP_PORTS} UDP ports"
        time_bound = 1.5 if engine == "28" else 4.0
        yield _row("udp-500", f"{name}, docker run", "run", seen, time_bound, "both address families")
        yield _row("udp-500", f"{name}, docker rm -f", "rm", seen, time_bound, "")
        yield _row("udp-500", f"{name}, private memory", "private", seen, 0.25, "of all its proxies together")
        yield _row(
            "udp-500",
            f"{name}, machine's memory",
            "available",
            seen,
            0.25,
            "fall of MemAvailable: the kernel's share, dockerd's and ours are in it, and other programs' too",
        )


def growth(plan: Plan) -> Iterator[Row]:
    """One run a size but for the smallest: it is the curve that counts."""
    engine = plan.engines[0]
    with machines(plan, engine) as both:
        for ports in GROWTH[:3] if plan.quick else GROWTH:
            seen: Samples = {kind: {} for kind in BOTH}
            for _ in range(plan.times(5, 1) if ports <= 10 else 1):
                for kind in BOTH:
                    _note(seen[kind], _publish_and_weigh(both[kind], _range(FIRST_TCP, ports), ports))
            for what, name in (("run", "docker run"), ("rm", "docker rm -f"), ("private", "private memory")):
                yield _row("growth", f"engine {engine}, TCP: {name}", what, seen, None, "", ports)


def _range(first: int, ports: int) -> str:
    span = f"{first}-{first + ports - 1}" if ports > 1 else str(first)
    return f"{span}:{span}"


def _publish_and_weigh(machine: Machine, what: str, served: int = 0) -> dict[str, float]:
    machine.settle()
    before = available()
    took = machine.publish(what)
    machine.served(served)
    machine.settle()
    figures = {
        "run": took,
        "private": private_total(machine.proxies()) * MEGABYTE,
        "available": (before - available()) * MEGABYTE,
    }
    return figures | {"rm": machine.remove()}


def _note(seen: dict[str, list[float]], figures: dict[str, float]) -> None:
    for what, figure in figures.items():
        seen.setdefault(what, []).append(figure)


def _row(
    part: str, title: str, what: str, seen: Samples, bound: float | None, note: str, at: int | None = None
) -> Row:
    return Row(
        part,
        title,
        "s" if what in ("run", "rm") else "MB",
        seen[OURS][what],
        seen[PEER][what],
        None if bound is None else at_most(bound),
        note,
        at,
        "" if at is None else "ports",
    )
