"""The last spans, bounded in number and in bytes, and the traces that they make."""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import nlargest
from typing import NamedTuple

from shim.core.traces.span import Span

# Bytes that each of the spans that may be kept is reckoned with; Envoy's take 2,000.
BYTES_A_SPAN = 4096


class Trace(NamedTuple):
    """``root`` is the first span without a parent among them; ``start`` and ``end``: nanoseconds (epoch)."""

    root: Span
    spans: list[Span]  # as they came
    start: int
    end: int

    @property
    def services(self) -> list[str]:
        """Names, each once."""
        return list(dict.fromkeys(span.service for span in self.spans))

    @property
    def failed(self) -> bool:
        """Whether any of its spans has."""
        return any(span.failed for span in self.spans)


class KeptSpans:
    """A ring: what is too much makes the oldest go.  Nothing outlives the process."""

    def __init__(self, limit: int, bytes_limit: int | None = None) -> None:
        """``limit``: spans; ``bytes_limit``: of memory, by their own reckoning."""
        self.limit = limit
        self._bytes_limit = BYTES_A_SPAN * limit if bytes_limit is None else bytes_limit
        self._bytes = 0
        self._ring: deque[tuple[Span, int]] = deque()
        self._traces: dict[str, list[Span]] = {}

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, span: Span) -> None:
        """Keep it."""
        weight = span.weight
        self._ring.append((span, weight))
        self._bytes += weight
        self._traces.setdefault(span.trace, []).append(span)
        while len(self._ring) > self.limit or self._bytes > self._bytes_limit:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        span, weight = self._ring.popleft()
        self._bytes -= weight
        spans = self._traces[span.trace]
        del spans[0]  # of its trace, too, it came first
        if not spans:
            del self._traces[span.trace]

    def trace(self, identity: str) -> Trace | None:
        """The trace of this id, as far as it is kept."""
        spans = self._traces.get(identity)
        return None if spans is None else _trace(spans)

    def traces(self, limit: int, service: str = "", errors: bool = False) -> list[Trace]:
        """The last traces, the one that began last first: those in which ``service`` took part, those that
        failed."""
        wanted = (spans for spans in self._traces.values() if _is_wanted(spans, service, errors))
        last = nlargest(
            limit, ((min(span.start for span in spans), n, spans) for n, spans in enumerate(wanted))
        )
        return [_trace(spans) for _, _, spans in last]


def _is_wanted(spans: list[Span], service: str, errors: bool) -> bool:
    if service and not any(span.is_of(service) for span in spans):
        return False
    return not errors or any(span.failed for span in spans)


def _trace(spans: Iterable[Span]) -> Trace:
    found = list(spans)
    known = {span.id for span in found}
    # Where each has a parent here they go round in a circle: then any is as good.
    roots = [span for span in found if span.parent not in known] or found
    root = min(roots, key=lambda span: span.start)
    start = min(span.start for span in found)
    return Trace(root, found, start, max(start, *(span.end for span in found)))


def as_tree(spans: Iterable[Span]) -> Iterator[tuple[int, Span]]:
    """(depth, span): each after its parent, beside its siblings by their start.  Every span once."""
    in_order = sorted(spans, key=lambda span: (span.start, -span.end))
    known = {span.id for span in in_order}
    children: dict[str, list[Span]] = {}
    for span in in_order:
        children.setdefault(span.parent if span.parent in known else "", []).append(span)
    told: set[int] = set()
    # Then those that no way from a root leads to: each is its own ancestor.
    for first in (*children.get("", ()), *in_order):
        waiting = [(0, first)]
        while waiting:
            depth, span = waiting.pop()
            if id(span) in told:
                continue
            told.add(id(span))
            yield depth, span
            # Once for an id, however many spans have it.
            waiting += [(depth + 1, child) for child in reversed(children.pop(span.id, ()))]
