"""The tracing of http mode: which spans, with what names and attributes, and what the backend is told.

Pure, by the rules of filters.py: the shape follows from the configuration and from which texts are empty,
texts appear verbatim.
"""

from typing import NamedTuple

from shim.core.endpoint import Endpoint
from shim.core.envoy.json import EXTENSIONS, Json
from shim.core.service import Service

# In the bootstrap: Envoy refuses a Zipkin listener whose collector cluster it does not know yet.
COLLECTOR_CLUSTER = "envoy_docker_shim_collector"
# The registrar's API as a collector (local_spans.py), and where spans are posted there.
SPANS_CLUSTER, SPANS_PATH = "envoy_docker_shim_spans", "/v1/traces"
# With local traces: after so many milliseconds, or with so many spans, a service's are sent.  A request of
# the registrar's API has 256 kB at most, and an ordinary span 600 bytes.
FLUSH_INTERVAL_MS, SPANS_A_BATCH = 2000, 100
OTLP, ZIPKIN, LOCAL = "otlp", "zipkin", "local"

SERVICE_NAME = "service.name"
# An attribute of every span -> the field of Service that it holds.  The names are OpenTelemetry's (semantic
# conventions: service, deployment, container, aws; it has none for Swarm), with Zipkin too.  One whose text
# is empty is left out.
ATTRIBUTES = {
    SERVICE_NAME: "name",
    "deployment.environment.name": "environment",
    "container.name": "container",
    "container.image.name": "image",
    "container.id": "container_id",
    "service.instance.id": "container_id",
    "service.version": "version",
    "service.namespace": "namespace",
    "docker.swarm.node.id": "swarm_node",
    "docker.swarm.task.name": "swarm_task",
    "aws.ecs.task.arn": "ecs_task",
}
HOST_NAME = "host.name"


class Collector(NamedTuple):
    """Where spans go, and how many."""

    kind: str  # OTLP (gRPC), ZIPKIN (HTTP), or LOCAL: the registrar (OTLP over HTTP)
    endpoint: Endpoint = Endpoint()  # not of LOCAL
    path: str = "/api/v2/spans"  # Zipkin's
    sampling: float = 100.0  # percent, of the requests whose client has not decided
    host_name: str = ""  # of this host, an attribute of every span
    kept: int = 0  # LOCAL: so many spans, the last ones

    @property
    def is_otlp(self) -> bool:
        """Whether Envoy's tracer is OpenTelemetry's."""
        return self.kind != ZIPKIN


def escape_format(text: str) -> str:
    """``text`` as Envoy's format strings take it literally: ``%`` begins a command there."""
    return text.replace("%", "%%")


def service_for(service: Service, tracing: Collector | None) -> Service:
    """``service`` with its texts as ``tracing_config`` needs them under this tracing.

    Zipkin's operation and tags are format strings, so there a ``%`` is doubled; OTLP's attributes are
    literal, so there it is not.
    """
    if tracing is None or tracing.is_otlp:
        return service
    return service._replace(
        **{field: escape_format(getattr(service, field)) for field in ATTRIBUTES.values()}
    )


def _attributes(service: Service, tracing: Collector) -> dict[str, str]:
    texts = {attribute: getattr(service, field) for attribute, field in ATTRIBUTES.items()}
    texts[HOST_NAME] = tracing.host_name
    return {attribute: text for attribute, text in texts.items() if text}


def request_id(tracing: Collector | None) -> Json:
    """Keeps a client's X-Request-Id as it is, and decides what the sampling rate is drawn from.

    By default Envoy writes its sampling decision into the id's 15th character.  And it decides from the
    id: a request whose id is no UUID is then never sampled.  So where the sampler can be told the rate
    (OTLP), or all requests are sampled, the id has no part in it.  Zipkin's tracer knows no rate: below
    100 % the id decides.
    """
    config: Json = {
        "@type": EXTENSIONS + "request_id.uuid.v3.UuidRequestIdConfig",
        "pack_trace_reason": False,
    }
    if tracing is not None and (tracing.is_otlp or tracing.sampling >= 100):
        config["use_request_id_for_trace_sampling"] = False
    return {"typed_config": config}


def tracing_config(service: Service, tracing: Collector) -> Json:
    """The connection manager's ``tracing``.  ``service`` is what ``service_for`` gave."""
    return _otlp(service, tracing) if tracing.is_otlp else _zipkin(service, tracing)


def _otlp(service: Service, tracing: Collector) -> Json:
    """Each listener is its own OpenTelemetry service."""
    attributes = _attributes(service, tracing)
    attributes.pop(SERVICE_NAME, None)  # it has a field of its own
    config: Json = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "service_name": service.name,
        **(_to_registrar() if tracing.kind == LOCAL else _to_collector()),
    }
    if attributes:
        config["resource_detectors"] = [{"name": "static", "typed_config": _detector(attributes)}]
    if tracing.sampling < 100:  # without a sampler all is sampled, but for a client that says it is not
        config["sampler"] = _sampler(tracing.sampling)
    provider = {"name": "envoy.tracers.opentelemetry", "typed_config": config}
    return {"operation": "%REQ(:METHOD)%", "provider": provider}


def _to_collector() -> Json:
    """Over gRPC, since all services share one connection then."""
    # With the time limit, what waits for a collector that hangs does not pile up.
    return {"grpc_service": {"envoy_grpc": {"cluster_name": COLLECTOR_CLUSTER}, "timeout": "1s"}}


def _to_registrar() -> Json:
    # The host is one of the API's names: it has no dot.
    uri = {"uri": f"http://{SPANS_CLUSTER}{SPANS_PATH}", "cluster": SPANS_CLUSTER, "timeout": "10s"}
    return {"http_service": {"http_uri": uri}}


def local_runtime() -> Json:
    """What local traces want of the bootstrap's runtime: fewer and longer requests than those of 5 spans."""
    prefix = "tracing.opentelemetry."
    return {f"{prefix}flush_interval_ms": FLUSH_INTERVAL_MS, f"{prefix}min_flush_spans": SPANS_A_BATCH}


def _detector(attributes: dict[str, str]) -> Json:
    package = EXTENSIONS + "tracers.opentelemetry.resource_detectors.v3."
    return {"@type": package + "StaticConfigResourceDetectorConfig", "attributes": attributes}


def _sampler(percent: float) -> Json:
    """A client's decision if it made one, else by the trace id."""
    package = EXTENSIONS + "tracers.opentelemetry.samplers.v3."
    ratio = {
        "@type": package + "TraceIdRatioBasedSamplerConfig",
        "sampling_percentage": {"numerator": round(percent * 10_000), "denominator": "MILLION"},
    }
    parent = {
        "@type": package + "ParentBasedSamplerConfig",
        "wrapped_sampler": {"name": "ratio", "typed_config": ratio},
    }
    return {"name": "parent", "typed_config": parent}


def _zipkin(service: Service, tracing: Collector) -> Json:
    """Zipkin's service name is node.cluster for all listeners, so operation and tags say the service."""
    config = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
        "collector_cluster": COLLECTOR_CLUSTER,
        "collector_endpoint": tracing.path,
        "collector_hostname": str(tracing.endpoint),
        "collector_endpoint_version": "HTTP_JSON",
        "trace_id_128bit": True,  # a W3C trace id is that long
        "shared_span_context": False,  # Envoy's span is a child of the client's, as W3C defines it
        "trace_context_option": "USE_B3_WITH_W3C_PROPAGATION",
    }
    result = {
        "operation": f"%REQ(:METHOD)% {service.name}",
        "custom_tags": [{"tag": tag, "value": value} for tag, value in _attributes(service, tracing).items()],
        "provider": {"name": "envoy.tracers.zipkin", "typed_config": config},
    }
    if tracing.sampling < 100:
        result["random_sampling"] = {"value": tracing.sampling}
    return result


def drop_empty_tracestate() -> list[Json]:
    """Upstream filters for OTLP, whose tracer always sets Tracestate: empty where the client sent none.

    It does so after the route's header rules have run; only a filter of the upstream side comes later.  A
    rule cannot ask for "empty", but adding an empty value adds nothing: so the value moves away and back.
    """
    aside = "x-shim-tracestate"
    steps = [
        _copy("tracestate", aside),
        {"remove": "tracestate"},
        _copy(aside, "tracestate"),
        {"remove": aside},
    ]
    mutation = {
        "@type": EXTENSIONS + "filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"request_mutations": steps},
    }
    codec = {"@type": EXTENSIONS + "filters.http.upstream_codec.v3.UpstreamCodec"}
    return [{"name": "tracestate", "typed_config": mutation}, {"name": "codec", "typed_config": codec}]


def _copy(source: str, target: str) -> Json:
    header = {"key": target, "value": f"%REQ({source})%"}
    return {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
