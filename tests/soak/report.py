"""The figures of one soak, and what was wrong."""

import platform
from collections import Counter, defaultdict
from typing import Any

from tests.soak.journal import UNEXPECTED, WRONG, Miss
from tests.soak.slot import EXCUSED
from tests.soak.soak import Run

SLOWEST = 10
SHOWN = 40  # of what was unexpected, one line each


def make_report(run: Run) -> dict[str, Any]:
    clients = run.clients
    causes: dict[str, Counter[str]] = defaultdict(Counter)
    failed = []
    for miss in clients.misses:
        cause = run.journal.judge(miss)
        if cause is not None:
            causes[cause][f"{miss.endpoint.kind} {miss.outcome}"] += 1
            failed.append((cause, miss))
    strange = [_line(run, cause, miss) for cause, miss in failed if cause in (UNEXPECTED, WRONG)]
    failed.sort(key=lambda pair: pair[1].began - pair[1].ended)
    refusals: Counter[str] = Counter()
    for slot in run.slots:
        refusals += slot.refusals
    problems = [
        *(
            f"{cause}: {sum(causes[cause].values())} requests"
            for cause in (UNEXPECTED, WRONG)
            if cause in causes
        ),
        *(f"Docker refused: {why}" for why in refusals if why not in EXCUSED),
        *(f"the binding of a killed shim went after {late}" for late in run.faults.late_shims),
        *run.ending.problems,
    ]
    return {
        "engine": run.stack.dockerd.engine.version,
        "python": platform.python_version(),
        "seconds": run.plan.seconds,
        "seed": run.plan.seed,
        "promise": run.plan.promise,
        "events": dict(sorted(run.events.items())),
        "answers": {
            "right": dict(sorted(clients.good.items())),
            "right, by what was away": dict(sorted(clients.good_while.items())),
            "rightly refused": clients.refused,
        },
        "failures": {cause: dict(outcomes) for cause, outcomes in sorted(causes.items())},
        "recovery": _recovery(run),
        "the machine itself was late by (ms)": round(1000 * run.lag),
        "refused by Docker": dict(refusals),
        "bindings at the end": run.ending.bindings,
        "registrar": {
            "empty, at first": run.base._asdict(),
            "warm": run.warm._asdict(),
            "full, at the end": run.full._asdict(),
            "empty, at the end": run.emptied._asdict(),
        },
        "envoy": run.envoy,
        "samples": [[round(s.at), s.pid, s.bindings, *s.usage] for s in run.samples],
        "slowest failures": [_line(run, cause, miss) for cause, miss in failed[:SLOWEST]],
        "unexpected": strange[:SHOWN],
        "problems": problems,
    }


def _line(run: Run, cause: str, miss: Miss) -> str:
    kind, ip, port = miss.endpoint
    said = "" if miss.word is None else f" from {miss.word}"
    span = f"{run.clock(miss.began)} to {run.clock(miss.ended)}"
    why = run.journal.lateness(miss) if cause == UNEXPECTED else cause
    return f"{span} {kind} {ip} {port}: {miss.outcome}{said} ({why})"


def _recovery(run: Run) -> dict[str, dict[str, Any]]:
    """The worst by cause: how long an endpoint was out, and how long after its cause had gone."""
    worst: dict[str, tuple[float, float, int]] = {}
    for outage in run.clients.outages:
        cause, late = run.journal.recovery(outage)
        longest, latest, count = worst.get(cause, (0.0, 0.0, 0))
        worst[cause] = (max(longest, outage.ended - outage.began), max(latest, late), count + 1)
    return {
        cause: {
            "outages": count,
            "longest_ms": round(1000 * longest),
            "latest_after_its_cause_had_gone_ms": round(1000 * latest),
        }
        for cause, (longest, latest, count) in sorted(worst.items())
    }


def text_of(report: dict[str, Any]) -> str:
    lines: list[str] = []
    for key, value in report.items():
        if key == "samples":
            continue
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {name}: {_flat(inner)}" for name, inner in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}: {len(value) or 'none'}", *(f"  {inner}" for inner in value)]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _flat(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {inner}" for name, inner in value.items())
