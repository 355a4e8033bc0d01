"""The registrar's own time, memory and rest, from 10 to 10,000 bindings and with one Envoy or ten.

python -m bench.registrar [--quick]
"""

import os
import sys
import time
from pathlib import Path

from bench.processes import most_bindings
from bench.registrar_rig import TIMEOUT, Rig, cpu_of, rig
from bench.rows import Row, limit
from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import bootstrap
from shim.registrar.wakeups import AGAIN
from tests.harness.envoy import Envoy
from tests.harness.registrar import LoopbackRegistrar
from tests.harness.wait import eventually

PART = "registrar"
DIST = Path(__file__).parents[1] / "dist" / "envoy-docker-shim"
ARTIFACT = Path(os.environ.get("EDS_ARTIFACT", DIST))
SIZES = (10, 100, 1_000, 10_000)
ANSWER_TARGETS = {10: 2.0, 1_000: 5.0, 10_000: 25.0}
BURST_PORTS = 100


def measure(quick: bool) -> list[Row]:
    rows: list[Row] = []
    for size in SIZES[:3] if quick else SIZES:
        wanted, size = size, min(size, most_bindings())
        with rig(ARTIFACT) as found:
            if size == SIZES[0]:
                rows += _memory_of_nothing(found)
            found.fill(size)
            found.connect(1)
            rows += _changes(found, size, 5 if quick else 30, ANSWER_TARGETS.get(wanted, 0.0))
            if size == 1_000:
                rows += _burst(found, 2 if quick else 5)
                rows += _rest(found, 3 if quick else 20)
            if size >= 1_000 and not quick:
                rows += _steady(found, size, 500)
    for size in (100,) if quick else (100, 1_000, 3_000):
        with rig(ARTIFACT) as found:
            found.fill(size)
            rows += _with_envoy(found, size, 3 if quick else 20)
    with rig(ARTIFACT) as found:
        size = 100 if quick else 1_000
        found.fill(size)
        found.connect(10)
        rows += _changes(found, size, 5 if quick else 20, 0.0, envoys=10)
        rows += _burst(found, 2 if quick else 5, envoys=10)
    return rows


def _row(what: str, unit: str, ours: list[float], size: int, target: float = 0.0, note: str = "") -> Row:
    return Row(PART, what, unit, ours, None, limit(target) if target else None, note, size, "bindings")


def _memory_of_nothing(found: Rig) -> list[Row]:
    return [_row("memory", "MB", [found.rss()], 0)]


def _changes(found: Rig, size: int, rounds: int, target: float, envoys: int = 1) -> list[Row]:
    """One container more and one less, again and again: what is pushed, and how long each push takes."""
    labels, listed, released, told, cpu = [], [], [], [], []
    firsts: list[float] = []
    for _ in range(rounds):
        before, counts = found.cpu(), {kind: found.counts(kind) for kind in found.pollers}
        shims, container = found.register()
        found.docker.start([container])
        clusters = found.next("clusters", counts["clusters"])
        listeners = found.next("listeners", counts["listeners"])
        labels.append(max(a.last for a in clusters) - found.docker.listed_at)
        listed.append(max(a.last for a in listeners) - max(a.accepted for a in clusters))
        counts = {kind: found.counts(kind) for kind in found.pollers}
        began = time.monotonic()
        shims[0].release()
        shims[0].wait_for_exit()
        exited = time.monotonic()
        listeners = found.next("listeners", counts["listeners"])
        found.next("clusters", counts["clusters"])
        released.append(max(a.last for a in listeners) - began)
        firsts.append(max(a.first for a in listeners) - began)
        told.append(exited - max(a.accepted for a in listeners))
        found.shims.remove(shims[0])
        shims[0].end()
        cpu.append(found.cpu() - before)
    suffix = "" if envoys == 1 else f", {envoys} Envoys"
    answers = [
        ("labels in to clusters out", labels, target),
        ("clusters accepted to listeners out", listed, target),
        ("release in to listeners out", released, target),
        ("release in to the first byte of listeners out", firsts, 0.0),
        ("listeners accepted to shim told to end", told, 0.0),
        ("CPU of a container's coming and going, four pushes", cpu, 0.0),
    ]
    return [_row(what + suffix, "ms", [1000 * s for s in got], size, goal) for what, got, goal in answers]


def _burst(found: Rig, rounds: int, envoys: int = 1) -> list[Row]:
    """A container with a hundred ports in both families comes and goes."""
    added, labelled, removed, pushes = [], [], [], []
    size = len(found.shims)
    for _ in range(rounds):
        counts = {kind: found.counts(kind) for kind in found.pollers}
        before = found.cpu()
        shims, container = found.register(BURST_PORTS, 2)
        came = found.cpu()
        found.docker.start([container])
        found.next("listeners", counts["listeners"])
        ready = found.cpu()
        again = {kind: found.counts(kind) for kind in found.pollers}
        for shim in shims:
            # As dockerd does: each has to end before the next is told.
            shim.release()
            shim.wait_for_exit()
            shim.end()
            found.shims.remove(shim)
        found.next("clusters", again["clusters"])
        gone = found.cpu()
        each = 1e6 / len(shims)
        added.append((came - before) * each)
        labelled.append((ready - came) * each)
        removed.append((gone - ready) * each)
        pushes.append(float(sum(found.counts("listeners")) - sum(counts["listeners"])) / envoys)
    suffix = "" if envoys == 1 else f", {envoys} Envoys"
    return [
        _row(f"CPU of a registration in a burst of 200{suffix}", "µs", added, size),
        _row(f"CPU of labels and pushes in a burst of 200, each port{suffix}", "µs", labelled, size),
        _row(f"CPU of a release in a burst of 200{suffix}", "µs", removed, size),
        _row(f"pushes of listeners for a burst of 200 and its release{suffix}", "", pushes, size),
    ]


def _rest(found: Rig, seconds: float) -> list[Row]:
    time.sleep(AGAIN + 1)  # new shims are nudged twice
    cpu, switches = found.cpu(), found.wake_ups()
    time.sleep(seconds)
    used = (found.cpu() - cpu) / seconds * 100
    woken = (found.wake_ups() - switches) / seconds
    size = len(found.shims)
    return [
        _row("CPU at rest", "% of a core", [used], size, 0.05),
        _row("wake-ups at rest", "/s", [woken], size),
    ]


def _steady(found: Rig, size: int, changes: int) -> list[Row]:
    """Memory before and after many changes."""
    before, private = found.rss(), found.private()
    for _ in range(changes):
        counts = {kind: found.counts(kind) for kind in found.pollers}
        shims, container = found.register()
        found.docker.start([container])
        found.next("listeners", counts["listeners"])
        shims[0].release()
        shims[0].wait_for_exit()
        shims[0].end()
        found.shims.remove(shims[0])
    target = 50.0 if size > 1_000 else 0.0
    return [
        _row("memory", "MB", [before], size),
        _row("private memory", "MB", [private], size, target),
        _row(f"private memory after {2 * changes} changes", "MB", [found.private()], size, target),
    ]


def _with_envoy(found: Rig, size: int, rounds: int) -> list[Row]:
    """A real Envoy takes a listener out: from the shim's word until the shim is told that it has."""
    assert isinstance(found.registrar, LoopbackRegistrar)
    registrar, admin = (
        Endpoint("127.0.0.1", found.registrar.api),
        Endpoint("127.0.0.1", found.registrar.admin),
    )
    total, share, waited, envoys = [], [], [], []
    with Envoy(found.registrar.directory / "envoy", bootstrap("bench", "docker", registrar, admin)) as envoy:
        eventually(lambda: len(envoy.listeners()) == len(found.shims), TIMEOUT * 3, "Envoy has all listeners")
        for _ in range(rounds):
            [shim], container = found.register()
            found.docker.start([container])
            eventually(lambda: len(envoy.listeners()) == len(found.shims), TIMEOUT, "Envoy has one more", 0.2)
            eventually(found.all_acknowledged, TIMEOUT, "Envoy is at rest", 0.2)
            cpu, envoy_cpu, began = found.cpu(), cpu_of(envoy.pid), time.monotonic()
            shim.release()
            shim.wait_for_exit()
            total.append(1000 * (time.monotonic() - began))
            waited.append(1000 * (found.cpu() - cpu))
            envoys.append(1000 * (cpu_of(envoy.pid) - envoy_cpu))
            share.append(100 * waited[-1] / total[-1])
            shim.end()
            found.shims.remove(shim)
            eventually(found.all_acknowledged, TIMEOUT, "Envoy is at rest", 0.2)
    return [
        _row("change to a real Envoy's acknowledgement", "ms", total, size),
        _row("... the registrar's CPU in it", "ms", waited, size),
        _row("... Envoy's CPU in it", "ms", envoys, size),
        _row("... our share", "%", share, size, 10.0 if size == 1_000 else 0.0),
    ]


def main() -> None:
    for row in measure("--quick" in sys.argv):
        found = row.result()
        middle, spread = found.ours.median, f"{min(row.ours):.4g}..{max(row.ours):.4g}"
        verdict = "" if found.met is None else "  met" if found.met else "  NOT MET"
        goal = f"{row.target.text(row.unit)}" if row.target else ""
        print(f"{found.title:90} {middle:10.4g} {row.unit:4} {spread:22} {goal}{verdict}", flush=True)


if __name__ == "__main__":
    main()
