"""Debian's Prometheus, unpacked and not installed: its tool for rules, and a server that scrapes.

promtool("check", "rules", path)
with Prometheus(host, directory, config) as prometheus:
    prometheus.query("up")
"""

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import yaml

from .debian import unpacked
from .netns import Place, run, tool_env
from .wait import eventually

ADDRESS = "127.0.0.1:9090"


class Sample(NamedTuple):
    """One series of an answer; NaN is a value."""

    labels: dict[str, str]
    value: float


def promtool(*args: str | Path) -> str:
    """What it prints.  Raises CommandError where it finds fault, and Missing."""
    return run([unpacked("prometheus") / "usr/bin/promtool", *args], env=tool_env())


class Prometheus:
    """A server in ``place``, with ``config`` as its file in ``directory``.  Raises Missing as it is made."""

    def __init__(self, place: Place, directory: Path, config: Mapping[str, Any]) -> None:
        self.log = directory / "prometheus.log"
        self._place = place
        self._file = directory / "prometheus.yml"
        self._file.write_text(yaml.safe_dump(dict(config)))
        self._argv: list[str | Path] = [
            unpacked("prometheus") / "usr/bin/prometheus",
            f"--config.file={self._file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={ADDRESS}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Prometheus":
        self._process = self._place.popen(self._argv, log=self.log, cwd=self._file.parent)
        try:
            eventually(self._is_ready, 20, f"Prometheus is ready, see {self.log}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)  # what it has stored is of no use to anybody
        self._process.wait(10)

    def query(self, expr: str) -> list[Sample]:
        """The answer to a question, now."""
        found = self.get("query", query=expr)["result"]
        return [Sample(series["metric"], float(series["value"][1])) for series in found]

    def get(self, page: str, **parameters: str) -> Any:
        """The data of a page of its API."""
        url = f"http://{ADDRESS}/api/v1/{page}?{urlencode(parameters)}"
        answer = json.loads(self._place.http_get(url).text)
        assert answer["status"] == "success", f"{answer.get('error')}: {parameters}"
        return answer["data"]

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"Prometheus ended:\n{self.log.read_text()}")
        return self._place.http_get(f"http://{ADDRESS}/-/ready").status == 200
