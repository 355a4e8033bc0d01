"""Local traces: spans that Envoys send to the registrar itself, and how they are shown.

They are taken at a bounded rate, so that no load on the services becomes the registrar's: Envoys wait for the
answer to one request before they send the next, on few connections (core/envoy/local_spans.py), and the
answer comes later the more there are.  What they cannot send they drop.
"""

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

import trio

from shim.core.traces.budget import Budget
from shim.core.traces.kept import KeptSpans, Trace, as_tree
from shim.core.traces.otlp import Decoder, count
from shim.core.traces.span import Span

# Spans in each second, and after a pause; those beyond are not read.
SPANS_A_SECOND, SPANS_AT_ONCE = 1000, 2000
# What a request takes of a core, with a byte and a span of it (seconds, as measured); and what all may take
# in each second, and after a pause.  Answers wait until that is kept, and LONGEST_WAIT at most (seconds).
REQUEST_COST, BYTE_COST, SPAN_COST = 5e-4, 1e-8, 4e-5
WORK_A_SECOND, WORK_AT_ONCE = 0.1, 0.5
LONGEST_WAIT = 1.0
# Spans read before others have a turn: some 2 ms.
SPANS_A_TURN = 20
# Of GET /traces, unless it says otherwise, and at most.
TRACES, MOST_TRACES = 50, 1000
# Spans of one trace that are shown: a client decides what belongs to a trace.
SPANS_SHOWN = 500
# What becomes of a span; two of these are reasons to drop it.
RESULTS = ("kept", "rate", "invalid")


class LocalTraces:
    """``kept``: the last spans.  ``counts``: what became of all, by RESULTS."""

    def __init__(self, limit: int, now: float) -> None:
        self.kept = KeptSpans(limit)
        self.counts = dict.fromkeys(RESULTS, 0)
        self._decoder = Decoder()
        self._spans = Budget(SPANS_A_SECOND, SPANS_AT_ONCE, now)
        self._work = Budget(WORK_A_SECOND, WORK_AT_ONCE, now)

    async def take(self, body: bytes, now: float) -> None:
        """Keep the spans of a request; returns when it is time for the next.  Raises ValueError."""
        work = REQUEST_COST + BYTE_COST * len(body)
        expected = count(body)
        if not self._spans.take(expected, now):
            self.counts["rate"] += expected
        else:
            work += SPAN_COST * expected
            found = 0
            try:
                for found, span in enumerate(self._decoder.spans(body), 1):
                    self.kept.add(span)
                    if found % SPANS_A_TURN == 0:
                        await trio.lowlevel.checkpoint()
            finally:
                self.counts["kept"] += found
                self.counts["invalid"] += expected - found
        if wait := self._work.borrow(work, now):
            await trio.sleep(min(wait, LONGEST_WAIT))


def latest(traces: LocalTraces, query: str) -> dict[str, Any]:
    """GET /traces: docs/reference.md explains the fields.  Raises ValueError for a bad query."""
    service, limit, errors = _asked(query)
    found = traces.kept.traces(limit, service, errors)
    return {
        "kept": len(traces.kept),
        "limit": traces.kept.limit,
        "traces": (_summary(trace) for trace in found),
    }


def one(traces: LocalTraces, identity: str) -> dict[str, Any] | None:
    """GET /traces/ID; None: there is none (any more)."""
    trace = traces.kept.trace(identity.lower())
    if trace is None:
        return None
    return {
        "id": identity.lower(),
        "started": _time(trace.start),
        "duration_ms": _milliseconds(trace.end - trace.start),
        "left_out": max(0, len(trace.spans) - SPANS_SHOWN),
        "spans": _spans(trace),
    }


def _spans(trace: Trace) -> Iterator[dict[str, Any]]:
    for depth, span in islice(as_tree(trace.spans), SPANS_SHOWN):
        yield {
            "id": span.id,
            "parent": span.parent or None,
            "depth": depth,
            **_who(span),
            "kind": span.kind,
            "name": span.title,
            "started": _time(span.start),
            "offset_ms": _milliseconds(span.start - trace.start),
            "duration_ms": _milliseconds(span.duration),
            "status": span.status,
            "error": span.failed,
            "attributes": dict(span.attributes),
            "resource": dict(span.resource),
        }


def _summary(trace: Trace) -> dict[str, Any]:
    return {
        "id": trace.root.trace,
        **_who(trace.root),
        "name": trace.root.title,
        "started": _time(trace.start),
        "duration_ms": _milliseconds(trace.end - trace.start),
        "status": trace.root.status,
        "error": trace.failed,
        "spans": len(trace.spans),
        "services": trace.services,
    }


def _who(span: Span) -> dict[str, str]:
    return {
        "service": span.service,
        "environment": span.resource.get("deployment.environment.name", ""),
        "container": span.resource.get("container.name", ""),
    }


def _asked(query: str) -> tuple[str, int, bool]:
    """The service, how many, and whether only those that failed.  Raises ValueError."""
    try:
        given = {key: values[-1] for key, values in parse_qs(query, True, max_num_fields=8).items()}
    except ValueError:
        raise ValueError("too many parameters") from None
    if unknown := given.keys() - {"service", "limit", "errors"}:
        raise ValueError(f"unknown parameter {min(unknown)[:40]!r}: there are service, limit and errors")
    limit, errors = given.get("limit", str(TRACES)), given.get("errors", "0")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 5 and 1 <= int(limit) <= MOST_TRACES):
        raise ValueError(f"limit={limit[:40]!r}: must be a whole number from 1 to {MOST_TRACES}")
    if errors not in ("0", "1"):
        raise ValueError(f"errors={errors[:40]!r}: must be 0 or 1")
    return given.get("service", ""), int(limit), errors == "1"


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds")


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 10**6, 3)
