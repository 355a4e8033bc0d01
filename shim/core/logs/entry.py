"""One line of the access log: read, asked about, and shown to a person.

Whatever a line holds, nothing here raises; and what clients sent reaches a terminal as printable characters
only, for in JSON any control character can hide behind an escape.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Entry = Mapping[str, Any]
# "2026-11-25T23:56:52.114Z" -> as a person reads it where they are.
LocalTime = Callable[[str], str]

GREEN, CYAN, YELLOW, RED, DIM = "32", "36", "33", "31", "2"
SERVICE_WIDTH, CLIENT_WIDTH = 20, 15
# Characters of what a client sent.
TEXT_LIMIT = 400


def parse(line: bytes) -> Entry | None:
    """What the line says, or None where it is none of the access log's: Envoy's own log, or anything else."""
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "time" in found and "duration_ms" in found else None


def is_http(entry: Entry) -> bool:
    """Whether it is of a request, not of a connection."""
    return "http.response.status_code" in entry


def is_of(entry: Entry, service: str) -> bool:
    """Whether ``service`` is its service's name, with ``/environment`` or not, or its container's."""
    return service in (_name(entry), _text(entry, "service.name"), _text(entry, "container.name"))


def failed(entry: Entry) -> bool:
    """Whether the client got 400 or more, or no answer; or the connection could not be passed on."""
    if is_http(entry):
        status = _number(entry, "http.response.status_code")
        return status == 0 or status >= 400
    return _flags(entry) != ""


class Shape(NamedTuple):
    """How lines are shown: ``colours`` for a terminal, ``local`` for the time."""

    local: LocalTime
    colours: bool = False

    def line(self, entry: Entry) -> str:
        """Time, service, client, status, duration, bytes sent, and what was asked for."""
        http = is_http(entry)
        status = _number(entry, "http.response.status_code")
        word = f"{status:.0f}" if http else "tls" if _text(entry, "tls.client.server_name") else "tcp"
        sent = _number(entry, "http.response.body.size" if http else "bytes.sent")
        colour = status_colour(status) if http else RED if failed(entry) else GREEN
        cells = (
            self._in(DIM, printable(self.local(_text(entry, "time")))),
            _cut(_name(entry) or "-", SERVICE_WIDTH).ljust(SERVICE_WIDTH),
            _text(entry, "client.address").ljust(CLIENT_WIDTH),
            self._in(colour, word.rjust(3)),
            _duration(_number(entry, "duration_ms")).rjust(7),
            size(sent).rjust(7),
            _request(entry) if http else _connection(entry),
            self._in(RED, _failure(entry)),
            self._in(DIM, _text(entry, "trace_id")),
        )
        return "  ".join(cell for cell in cells if cell).rstrip()

    def _in(self, colour: str, text: str) -> str:
        return in_colour(colour, text) if self.colours and text else text


def in_colour(colour: str, text: str) -> str:
    """As a terminal shows it in one of the colours above."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def printable(text: str) -> str:
    """``text`` on one line, what cannot be printed as its escape, and cut where it is long."""
    return _cut("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:TEXT_LIMIT]), TEXT_LIMIT)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _text(entry: Entry, name: str) -> str:
    value = entry.get(name)
    return printable(value) if isinstance(value, str) else ""


def _number(entry: Entry, name: str) -> float:
    """The number, or 0: also for what JSON has beside numbers, and for those beyond all bounds."""
    value = entry.get(name)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return float(value) if good else 0.0  # type: ignore[arg-type]


def _name(entry: Entry) -> str:
    environment = _text(entry, "deployment.environment.name")
    return _text(entry, "service.name") + (f"/{environment}" if environment else "")


def _flags(entry: Entry) -> str:
    flags = _text(entry, "response_flags")
    return "" if flags == "-" else flags


def _failure(entry: Entry) -> str:
    """Envoy's words for what went wrong; a client that went away early is no failure to explain."""
    flags = _flags(entry)
    words = [flags, _text(entry, "upstream.failure").replace("_", " ")]
    if flags and is_http(entry) and not words[1]:
        words[1] = _text(entry, "response_details").replace("_", " ")
    return ": ".join(word for word in words if word)


def _request(entry: Entry) -> str:
    query = _text(entry, "url.query")
    asked = f"{_text(entry, 'server.address')}{_text(entry, 'url.path')}{f'?{query}' if query else ''}"
    return f"{_text(entry, 'http.request.method') or '-'} {asked or '-'}"


def _connection(entry: Entry) -> str:
    words = [
        f"port {_number(entry, 'server.port'):.0f}",
        f"{size(_number(entry, 'bytes.received'))} received",
        _text(entry, "tls.client.server_name"),
        _text(entry, "tls.next_protocol"),
    ]
    return ", ".join(word for word in words if word)


def status_colour(status: float) -> str:
    """Of HTTP's status; 0: there was no answer."""
    if 100 <= status < 300:
        return GREEN
    return CYAN if 300 <= status < 400 else YELLOW if 400 <= status < 500 else RED


def _duration(milliseconds: float) -> str:
    if milliseconds < 10_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.0f} s" if seconds < 10_000 else f"{seconds / 3600:.0f} h"


def size(count: float) -> str:
    """So many bytes, for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.0f} TB"
