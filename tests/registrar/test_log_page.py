"""`GET /services/log`: the last lines of one service, of a file that another user writes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shim.registrar.http_connection import Request
from shim.registrar.log_page import LINES, TAIL, log_page
from tests.builders import in_trio
from tests.registrar.test_api import Registrar, document

WEB = "web-dev-8080"


def line(number: int = 0, **changed: Any) -> bytes:
    entry = {
        "time": "2026-11-26T04:00:00.000Z",
        "service.name": "web",
        "deployment.environment.name": "dev",
        "server.port": 8080,
        "duration_ms": number,
    }
    named = {name.replace("_", "."): value for name, value in changed.items()}
    return json.dumps(entry | named).encode() + b"\n"


def answer(file: Path | str, service: str = WEB) -> tuple[int, Any]:
    registrar = Registrar()
    registrar.publish()
    registrar.state.access_log_file = str(file)
    request = Request("GET", f"/services/log?id={service}", {"host": "localhost"}, b"", 1)
    response = log_page(registrar.state, request)
    return response.status, document(response)


@in_trio
async def test_only_the_services_own_lines_are_shown_and_only_the_last(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    others = [line(service_name="api"), line(server_port=8081), b"[info] Envoy's own\n", b"{half", b"[1]\n"]
    file.write_bytes(b"".join(others) + b"".join(map(line, range(LINES + 5))))
    status, found = answer(file)
    assert status == 200 and found["why"] == ""
    assert [entry["duration_ms"] for entry in found["lines"]] == list(range(5, LINES + 5))


@in_trio
async def test_of_a_long_file_only_the_end_is_read_and_no_half_line(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(line(1) + line(2, url_path="x" * (TAIL - 20)) + line(3))
    assert [entry["duration_ms"] for entry in answer(file)[1]["lines"]] == [3]


def _nothing(path: Path) -> None: ...


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_nothing, "is not there yet"),
        (os.mkfifo, "no plain file"),
        (lambda path: path.mkdir(), "no plain file"),
        (lambda path: path.symlink_to("/etc/hostname"), "cannot be read"),
    ],
)
@in_trio
async def test_what_is_no_file_of_lines_is_told_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "access.log")
    status, found = answer(tmp_path / "access.log")
    assert (status, found["lines"]) == (200, []) and why in found["why"]


@in_trio
async def test_without_a_file_it_says_how_to_have_one_and_of_nobody_it_is_404() -> None:
    assert "access_log: /var/log/envoy/access.log" in answer("")[1]["why"]
    assert answer("", "nobody")[0] == answer("", "")[0] == 404
