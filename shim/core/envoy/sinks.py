"""Where Envoy sends its statistics by itself: an OpenTelemetry collector, and statsd.  In the bootstrap."""

from typing import NamedTuple

from shim.core.endpoint import Endpoint
from shim.core.envoy.json import EXTENSIONS, Json, socket_address

METRICS_CLUSTER = "envoy_docker_shim_metrics"
# Seconds.
INTERVAL = 10.0
# A message of so many points is about 1 MB; the collectors' own limit for one is 4.
POINTS = 2000


class Sinks(NamedTuple):
    """``otlp``: a collector (gRPC); ``statsd``: an IP address and UDP port; ``interval``: seconds."""

    otlp: Endpoint | None = None
    statsd: Endpoint | None = None
    interval: float = INTERVAL


def stats_sinks(sinks: Sinks, node_id: str) -> Json:
    """The bootstrap's fields for them; the collector's cluster (METRICS_CLUSTER) is for the caller to add."""
    made: list[Json] = []
    if sinks.otlp is not None:
        detector = (
            EXTENSIONS + "tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig"
        )
        attributes = {"service.name": "envoy", "service.instance.id": node_id}
        made.append(
            {
                "name": "envoy.stat_sinks.open_telemetry",
                "typed_config": {
                    "@type": EXTENSIONS + "stat_sinks.open_telemetry.v3.SinkConfig",
                    "grpc_service": {"envoy_grpc": {"cluster_name": METRICS_CLUSTER}, "timeout": "5s"},
                    "max_data_points_per_request": POINTS,
                    # The names of Prometheus' page, prefix included: what was learned there is true here.
                    "prefix": "envoy",
                    "resource_detectors": [
                        {"name": "static", "typed_config": {"@type": detector, "attributes": attributes}}
                    ],
                },
            }
        )
    if sinks.statsd is not None:
        address = socket_address(sinks.statsd.host, sinks.statsd.port)
        address["socket_address"]["protocol"] = "UDP"
        made.append(
            {
                "name": "envoy.stat_sinks.statsd",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
                    "address": address,
                },
            }
        )
    return {"stats_sinks": made, "stats_flush_interval": f"{sinks.interval:g}s"} if made else {}
