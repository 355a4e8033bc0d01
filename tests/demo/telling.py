"""A line of progress a step, and what both demos show of Envoy."""

import json
import subprocess
import time
from pathlib import Path

from tests.harness.envoy import Envoy
from tests.harness.registrar import Registrar
from tests.harness.wait import eventually

BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def show(what: str, text: str) -> None:
    """What was done, and what it printed."""
    say(f"{what}:")
    for line in text.rstrip().splitlines():
        print(f"            {line}", flush=True)


def stay_with_the_page(file: Path, registrar: Registrar, ask: str) -> None:
    """Until Ctrl-C: the page in a browser.  ``ask`` is a command line that makes a request."""
    say("all of it stays until Ctrl-C. Make a request, and see it on the page, with its latency and trace:")
    say(f"    {ask}")
    with subprocess.Popen([file, "page", "--config", registrar.config], env=registrar.env) as page:
        try:
            page.wait()
        except KeyboardInterrupt:  # which has told the page, too
            page.wait()


def show_trace(registrar: Registrar, spans: int = 1) -> None:
    """The last trace with so many spans, as soon as Envoy has brought them."""

    def look() -> str:
        found = json.loads(registrar.read("/traces").text)["traces"]
        return next((str(trace["id"]) for trace in found if trace["spans"] == spans), "")

    identity = eventually(look, 10, "a trace")
    show(f"envoy-docker-shim traces {identity}", registrar.command("traces", str(identity)).stdout)


def show_stats(envoy: Envoy) -> None:
    def look() -> list[str]:
        page = envoy.admin("/stats/prometheus?usedonly").splitlines()
        found = [
            line
            for line in page
            if line.startswith(("envoy_http_downstream_rq_xx{", "envoy_cluster_upstream_rq_xx{"))
        ]
        return [line for line in found if 'prefix="admin"' not in line and "envoy_docker_shim" not in line]

    show("the same request in Envoy's Prometheus page", "\n".join(eventually(look, 10, "request counts")))
