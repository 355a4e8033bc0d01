"""Traces as a person reads them in a terminal: a line each, and one of them with a bar for every span.

It is drawn from what the API answers (registrar/traces.py).  Whatever that holds, nothing here raises; and
what clients sent reaches a terminal as printable characters only.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from shim.core.logs.entry import GREEN, RED, LocalTime, in_colour, status_colour
from shim.core.logs.fields import cut, number_in, printable, text_in

# Columns.
SERVICE_WIDTH, TITLE_WIDTH, BAR_WIDTH, INDENTS = 24, 32, 40, 8


class Drawing(NamedTuple):
    """``colours`` for a terminal, ``local`` for the time."""

    local: LocalTime
    colours: bool = False

    def line(self, trace: Mapping[str, Any]) -> str:
        """Time, id, service, status, duration, spans, and what was asked for."""
        number = number_in(trace, "spans")
        cells = (
            printable(self.local(text_in(trace, "started"))),
            text_in(trace, "id"),
            cut(_service(trace), SERVICE_WIDTH).ljust(SERVICE_WIDTH),
            self._status(trace),
            duration(number_in(trace, "duration_ms")).rjust(8),
            f"{number:.0f} span{'' if number == 1 else 's'}".rjust(8),
            text_in(trace, "name") or "-",
        )
        return "  ".join(cells).rstrip()

    def trace(self, trace: Mapping[str, Any]) -> Iterator[str]:
        """Its head, and a line for each of its spans: under its parent, with a bar where it lies in time."""
        spans = [span for span in _list(trace, "spans") if isinstance(span, dict)]
        names = {_service(span) for span in spans}
        services = f", {len(names)} services" if len(names) > 1 else ""
        left_out = number_in(trace, "left_out")
        count = len(spans) + int(left_out)
        spans_are = f"{count} span{'' if count == 1 else 's'}"
        whole = max(number_in(trace, "duration_ms"), 0.001)
        when = printable(self.local(text_in(trace, "started")))
        yield f"trace {text_in(trace, 'id')}  {when}  {duration(whole)}, {spans_are}{services}"
        for span in spans:
            indent = "  " * int(min(number_in(span, "depth"), INDENTS))
            cells = (
                cut(indent + (_service(span) or "-"), SERVICE_WIDTH).ljust(SERVICE_WIDTH),
                cut(text_in(span, "name") or "-", TITLE_WIDTH).ljust(TITLE_WIDTH),
                self._status(span),
                duration(number_in(span, "duration_ms")).rjust(8),
                self._bar(span, whole),
            )
            yield "  ".join(cells).rstrip()
        if left_out:
            yield f"and {left_out:.0f} more"

    def _status(self, of: Mapping[str, Any]) -> str:
        status = of.get("status")
        failed = of.get("error") is True
        if isinstance(status, int) and not isinstance(status, bool):
            return self._in(RED if failed and status < 400 else status_colour(status), f"{status:3}"[:3])
        return self._in(RED, "err") if failed else " - "

    def _bar(self, span: Mapping[str, Any], whole: float) -> str:
        first = min(int(number_in(span, "offset_ms") / whole * BAR_WIDTH), BAR_WIDTH - 1)
        room = BAR_WIDTH - first
        length = min(max(1, round(number_in(span, "duration_ms") / whole * BAR_WIDTH)), room)
        bar = self._in(RED if span.get("error") is True else GREEN, "=" * length)
        return f"|{' ' * first}{bar}{' ' * (room - length)}|"

    def _in(self, colour: str, text: str) -> str:
        return in_colour(colour, text) if self.colours else text


def duration(milliseconds: float) -> str:
    """A span's: most take less than a second, many less than a millisecond."""
    if milliseconds < 10:
        return f"{milliseconds:.2f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.0f} s"


def _service(of: Mapping[str, Any]) -> str:
    environment = text_in(of, "environment")
    return text_in(of, "service") + (f"/{environment}" if environment else "")


def _list(of: Mapping[str, Any], name: str) -> list[Any]:
    value = of.get(name)
    return value if isinstance(value, list) else []
