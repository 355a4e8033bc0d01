"""One line of the access log: read, asked about, and shown to a person.

Whatever a line holds, nothing here raises; and what clients sent reaches a terminal as printable characters
only, for in JSON any control character can hide behind an escape.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shim.core.logs.fields import cut, number_in, printable, text_in

Entry = Mapping[str, Any]
# "2026-11-25T23:56:52.114Z" -> as a person reads it where they are.
LocalTime = Callable[[str], str]

GREEN, CYAN, YELLOW, RED, DIM = "32", "36", "33", "31", "2"
SERVICE_WIDTH, CLIENT_WIDTH = 20, 15


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
    return service in (_name(entry), text_in(entry, "service.name"), text_in(entry, "container.name"))


def failed(entry: Entry) -> bool:
    """Whether the client got 400 or more, or no answer; or the connection could not be passed on."""
    if is_http(entry):
        status = number_in(entry, "http.response.status_code")
        return status == 0 or status >= 400
    return _flags(entry) != ""


class Shape(NamedTuple):
    """How lines are shown: ``colours`` for a terminal, ``local`` for the time."""

    local: LocalTime
    colours: bool = False

    def line(self, entry: Entry) -> str:
        """Time, service, client, status, duration, bytes sent, and what was asked for."""
        http = is_http(entry)
        status = number_in(entry, "http.response.status_code")
        word = f"{status:.0f}" if http else "tls" if text_in(entry, "tls.client.server_name") else "tcp"
        sent = number_in(entry, "http.response.body.size" if http else "bytes.sent")
        colour = status_colour(status) if http else RED if failed(entry) else GREEN
        cells = (
            self._in(DIM, printable(self.local(text_in(entry, "time")))),
            cut(_name(entry) or "-", SERVICE_WIDTH).ljust(SERVICE_WIDTH),
            text_in(entry, "client.address").ljust(CLIENT_WIDTH),
            self._in(colour, word.rjust(3)),
            _duration(number_in(entry, "duration_ms")).rjust(7),
            size(sent).rjust(7),
            _request(entry) if http else _connection(entry),
            self._in(RED, _failure(entry)),
            self._in(DIM, text_in(entry, "trace_id")),
        )
        return "  ".join(cell for cell in cells if cell).rstrip()

    def _in(self, colour: str, text: str) -> str:
        return in_colour(colour, text) if self.colours and text else text


def in_colour(colour: str, text: str) -> str:
    """As a terminal shows it in one of the colours above."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def _name(entry: Entry) -> str:
    environment = text_in(entry, "deployment.environment.name")
    return text_in(entry, "service.name") + (f"/{environment}" if environment else "")


def _flags(entry: Entry) -> str:
    flags = text_in(entry, "response_flags")
    return "" if flags == "-" else flags


def _failure(entry: Entry) -> str:
    """Envoy's words for what went wrong; a client that went away early is no failure to explain."""
    flags = _flags(entry)
    words = [flags, text_in(entry, "upstream.failure").replace("_", " ")]
    if flags and is_http(entry) and not words[1]:
        words[1] = text_in(entry, "response_details").replace("_", " ")
    return ": ".join(word for word in words if word)


def _request(entry: Entry) -> str:
    query = text_in(entry, "url.query")
    asked = f"{text_in(entry, 'server.address')}{text_in(entry, 'url.path')}{f'?{query}' if query else ''}"
    return f"{text_in(entry, 'http.request.method') or '-'} {asked or '-'}"


def _connection(entry: Entry) -> str:
    words = [
        f"port {number_in(entry, 'server.port'):.0f}",
        f"{size(number_in(entry, 'bytes.received'))} received",
        text_in(entry, "tls.client.server_name"),
        text_in(entry, "tls.next_protocol"),
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
