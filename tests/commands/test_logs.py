"""``logs`` of the built file: from a file, from a pipe, and from what stands for journalctl."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness.registrar import SHIV_ROOT
from tests.harness.wait import eventually

OTHER = b"[2026-11-25 23:53:57.440][30943][info][main] all dependencies initialized\n"
HTTP: dict[str, Any] = {
    "time": "2026-11-25T23:56:52.114Z",
    "service.name": "web",
    "deployment.environment.name": "dev",
    "client.address": "10.3.4.120",
    "http.request.method": "GET",
    "server.address": "shop.example",
    "url.path": "/cart",
    "http.response.status_code": 200,
    "duration_ms": 12,
}
BAD = {**HTTP, "http.response.status_code": 502, "url.path": "/bad\x1b[2J"}
TCP: dict[str, Any] = {"time": HTTP["time"], "service.name": "db", "server.port": 5432, "duration_ms": 7}


def written(*entries: dict[str, object]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


class Logs:
    """The command, with a configuration and a file of its own."""

    def __init__(self, artifact: Path, directory: Path) -> None:
        self.artifact = artifact
        self.directory = directory
        self.file = directory / "access.log"
        self.file.write_bytes(OTHER + written(HTTP, BAD, TCP) + b'{"time": "half of a li')
        self.config = directory / "shim.yaml"
        self.config.write_text(f"access_log: {self.file}")
        self.env = {**os.environ, "SHIV_ROOT": str(SHIV_ROOT), "TZ": "Asia/Kolkata"}

    def popen(self, *args: str, **more: Any) -> "subprocess.Popen[str]":
        command = [str(self.artifact), "logs", "--config", str(self.config), *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, text=True, stdout=pipe, stderr=pipe, **more)

    def run(self, *args: str, **more: Any) -> tuple[int, list[str], str]:
        """Exit code, lines, and what it complains of."""
        with self.popen(*args, **more) as process:
            out, err = process.communicate(timeout=20)
        return process.returncode, out.splitlines(), err


@pytest.fixture
def logs(artifact: Path, tmp_path: Path) -> Logs:
    return Logs(artifact, tmp_path)


def test_the_last_lines_that_are_wanted_are_shown_in_this_hosts_time(logs: Logs) -> None:
    code, lines, error = logs.run()
    assert (code, error) == (0, "")
    assert [line.split("  ")[-1] for line in lines] == [
        "GET shop.example/cart",
        r"GET shop.example/bad\x1b[2J",
        "port 5432, 0 B received",
    ]
    assert all(line.startswith("2026-11-26 05:26:52.114  ") for line in lines)
    assert [line.split()[2] for line in logs.run("-n", "2")[1]] == ["web/dev", "db"]
    assert [line.split()[4] for line in logs.run("web/dev", "--errors")[1]] == ["502"]


def test_a_pipe_will_do_and_json_passes_as_it_is(logs: Logs) -> None:
    with logs.file.open() as stream:
        code, lines, _ = logs.run("--file", "-", "--json", stdin=stream)
    assert (code, [json.loads(line) for line in lines]) == (0, [HTTP, BAD, TCP])


def test_what_cannot_be_read_or_is_not_there_is_told_in_a_line(logs: Logs, tmp_path: Path) -> None:
    none = str(tmp_path / "none.log")
    wanted = f"envoy-docker-shim: {none}: cannot be read: No such file or directory\n"
    assert logs.run("--file", none) == (1, [], wanted)
    code, lines, error = logs.run("cart")
    assert (code, lines) == (0, []) and "no line of cart" in error
    logs.config.write_text("")
    logs.file.write_bytes(OTHER)
    code, lines, error = logs.run("--file", str(logs.file))
    assert (code, lines) == (0, []) and "access_log is off" in error
    code, lines, error = logs.run("-n", "-1")
    assert (code, lines) == (2, []) and "must not be below 0" in error


def test_the_journal_is_read_without_a_gap(logs: Logs, tmp_path: Path) -> None:
    """From a journalctl that only notes how it is called; the real one is asked in tests/machine."""
    program = tmp_path / "journalctl"
    program.write_text(
        '#!/bin/sh\necho "$@" >>"$0.calls"\n'
        f"""cat {logs.file}\ncase "$*" in *show-cursor*) printf '\\n%s\\n' '-- cursor: s=1;i=2' ;; esac\n"""
    )
    program.chmod(0o755)
    logs.config.write_text("access_log: stdout")
    logs.env["PATH"] = f"{tmp_path}:{logs.env['PATH']}"
    code, lines, _ = logs.run("-f", "--unit", "my-envoy")
    assert (code, len(lines)) == (0, 6)
    first, then = (tmp_path / "journalctl.calls").read_text().splitlines()
    assert first.startswith("--unit=my-envoy --output=cat") and "--show-cursor" in first
    assert then.endswith("--follow --after-cursor=s=1;i=2")


def test_following_shows_lines_as_they_come_and_ends_with_whoever_reads(logs: Logs) -> None:
    with logs.popen("-f", "-n", "1") as process:
        assert process.stdout is not None and process.stderr is not None
        assert "port 5432" in process.stdout.readline()
        logs.file.rename(logs.file.with_suffix(".1"))
        logs.file.write_bytes(written(BAD))
        assert "/bad" in process.stdout.readline()
        process.stdout.close()

        def ended() -> bool:
            with logs.file.open("ab") as more:
                more.write(written(BAD))
            return process.poll() is not None

        eventually(ended, 10, "it ends once nobody reads")
        assert (process.returncode, process.stderr.read()) == (0, "")
