"""`GET /services/log`: a service's last lines of the access log, where that is a file that may be read."""

import os
import stat
from collections.abc import Iterator
from typing import Any

from shim.core.leases.lease import Lease
from shim.core.logs.entry import Entry, parse
from shim.registrar.answers import json_answer, refusal, service_asked_for
from shim.registrar.http_connection import Request, Response
from shim.registrar.services import groups
from shim.registrar.state import State

# Bytes at the file's end that are looked at, and how many lines are shown of them.
TAIL = 64 << 10
LINES = 50


def log_page(state: State, request: Request) -> Response:
    """The lines, the oldest first, and why there are none; 404: no such service."""
    wanted = service_asked_for(request)
    leases = groups(state).get(wanted)
    if not leases:
        return refusal(404, f"no service has the id {wanted[:80]!r}")
    lines, why = _last(state.access_log_file, leases)
    return json_answer({"lines": lines, "why": why})


def _last(file: str, leases: list[Lease]) -> tuple[list[Entry], str]:
    if not file:
        return [], (
            "The access log goes to no file: with access_log: /var/log/envoy/access.log its last lines are"
            " shown here."
        )
    try:
        return [entry for entry in _entries(_tail(file)) if _is_of(entry, leases)][-LINES:], ""
    except FileNotFoundError:
        return [], f"{file} is not there yet: nothing was asked for."
    except PermissionError:
        return [], (
            f"The registrar may not read {file}, which is Envoy's: with UMask=0027 in Envoy's unit its group"
            " may, and the registrar is in that."
        )
    except OSError as error:
        return [], f"{file} cannot be read: {error.strerror}."


def _tail(file: str) -> bytes:
    """Whole lines of the file's end.  What is no plain file is not waited for, nor is a link followed."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is no plain file")
        begin = max(0, found.st_size - TAIL)
        text = os.pread(descriptor, TAIL, begin)
    finally:
        os.close(descriptor)
    return text.partition(b"\n")[2] if begin else text


def _entries(text: bytes) -> Iterator[Entry]:
    for line in text.splitlines():
        entry = parse(line)
        if entry is not None:
            yield entry


def _is_of(entry: Entry, leases: list[Lease]) -> bool:
    service = leases[0].service
    named: tuple[Any, ...] = entry.get("service.name"), entry.get("deployment.environment.name") or ""
    ports = {lease.binding.address.port for lease in leases}
    return (
        service is not None
        and named == (service.name, service.environment)
        and entry.get("server.port") in ports
    )
