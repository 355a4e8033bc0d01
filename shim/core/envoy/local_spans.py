"""Local traces, as Envoy is told of them: its spans go to the registrar's own API, over HTTP.

OTLP over HTTP/1.1 is a request for each batch of each service.  They have a cluster of their own, so that
discovery never waits for them; it comes by discovery itself, which is why the registrar's restart is enough.
One connection a worker (Envoy gives each at least one): the registrar's answer to a batch is the next one's
turn, and it answers no faster than it wants to work.

With the runtime's values in the bootstrap there are few batches, and long ones.  An Envoy that was started
before has them not: it sends every five spans.  Where that is too fast it drops what it cannot send, and logs
a line for each batch.
"""

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import fixed_cluster
from shim.core.envoy.json import Json
from shim.core.envoy.tracing import SPANS_CLUSTER
from shim.core.envoy.upstreams import CLUSTER_TYPE

# Batches that wait for their turn: one for each service, whose intervals end together.  The registrar takes
# some 150 in a second, and after a pause 750 at once: none waits for as long as its time limit (tracing.py).
WAITING = 1500


def spans_cluster(api: Endpoint) -> Json:
    """The cluster of the registrar's API for spans."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    limits = {"max_connections": 1, "max_pending_requests": WAITING}
    return {
        "@type": CLUSTER_TYPE,
        **fixed_cluster(SPANS_CLUSTER, api),
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                # Less than the registrar's own, or a request meets a connection just closed.
                "common_http_protocol_options": {"idle_timeout": "60s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }
