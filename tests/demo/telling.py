"""A line of progress a step, and what both demos show of Envoy."""

import time

from tests.harness.collectors import Collector
from tests.harness.envoy import Envoy
from tests.harness.wait import eventually

BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def show(what: str, text: str) -> None:
    """What was done, and what it printed."""
    say(f"{what}:")
    for line in text.rstrip().splitlines():
        print(f"            {line}", flush=True)


def show_trace(collector: Collector) -> None:
    span = collector.wait_for(lambda spans: spans[0] if spans else None)
    assert span is not None
    shown = {"service": span.service, "span": span.name, "trace": span.trace_id, **span.resource}
    shown |= {key: span.tags[key] for key in ("http.url", "http.status_code") if key in span.tags}
    show(
        "the same request in a trace, as the collector got it",
        "\n".join(f"{k} = {v}" for k, v in shown.items()),
    )


def show_stats(envoy: Envoy) -> None:
    def look() -> list[str]:
        page = envoy.admin("/stats/prometheus?usedonly").splitlines()
        found = [
            line
            for line in page
            if line.startswith(("envoy_http_downstream_rq_xx{", "envoy_cluster_upstream_rq_xx{"))
        ]
        return [line for line in found if 'prefix="admin"' not in line and "registrar" not in line]

    show("the same request in Envoy's Prometheus page", "\n".join(eventually(look, 10, "request counts")))
