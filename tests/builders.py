"""Values for tests, with a default for all but the field under test; and a clock that costs no time."""

import functools
import gc
import json
import logging
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from typing import Any, ParamSpec

import trio
import trio.testing
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from shim.core.binding import Address, Backend, Binding
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.json import Json
from shim.core.envoy.listeners import listener
from shim.core.envoy.modes import MODES, Serving
from shim.core.envoy.templates import Templates
from shim.core.envoy.upstreams import cluster
from shim.core.leases.lease import Lease
from shim.core.service import Service
from shim.core.traces.span import KINDS, Span
from shim.registrar.state import State

P = ParamSpec("P")
# What no test waits for, in seconds of its own clock: one that would hang fails instead.
FOREVER = 10_000.0


def open_fds() -> int:
    """How many descriptors this process has, without those that only wait for the garbage collector."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def make_backend(ip: str = "172.17.0.2", port: int = 80) -> Backend:
    return Backend(ip, port)


def make_binding(
    port: int = 8080,
    ip: str = "0.0.0.0",
    proto: str = "tcp",
    backend_ip: str = "172.17.0.2",
    backend_port: int = 80,
) -> Binding:
    return Binding(Address(proto, ip, port), Backend(backend_ip, backend_port))


def make_flags(binding: Binding | None = None) -> list[str]:
    """docker-proxy's flags for a binding, as dockerd writes them."""
    (proto, host_ip, host_port), (ip, port) = binding or make_binding()
    words = (
        f"-proto {proto} -host-ip {host_ip} -host-port {host_port} -container-ip {ip} -container-port {port}"
    )
    return words.split()


def make_service(
    name: str = "web",
    environment: str = "",
    container: str = "web-1",
    image: str = "shop/web:1",
    container_id: str = "0123456789ab",
) -> Service:
    return Service(name, environment, container, image, container_id)


def make_labelled(
    name: str = "web", environment: str = "", mode: str = "http", problem: str = "", **more: str
) -> tuple[Service, Serving]:
    """What a container's labels say of one of its ports."""
    return make_service(name, environment, **more), Serving(MODES[mode], problem)


def make_listener(
    mode: str,
    name: str = "tcp/0.0.0.0:18080",
    ip: str = "0.0.0.0",
    port: int = 18080,
    stat_prefix: str = "web-prod-80",
    cluster: str = "web-prod-80",
    service: Service | None = None,
    options: HttpOptions = HttpOptions(),  # noqa: B008 (immutable)
    *,
    freebind: bool = False,
    origin: str = "",
) -> Json:
    """A whole listener in this mode."""
    place = (name, ip, port, stat_prefix, cluster)
    origin = origin or f"{cluster}-origin"
    return listener(MODES[mode], *place, service or make_service(), options, freebind=freebind, origin=origin)


def make_cluster(mode: str, name: str, ip: str, port: int, proxy_protocol: int = 0) -> Json:
    """The cluster of one container port that is served in this mode."""
    return cluster(name, ip, port, Serving(MODES[mode], proxy_protocol=proxy_protocol).upstream)


def make_lease(
    id: int = 1,
    binding: Binding | None = None,
    order: float | None = None,
    pid: int | None = None,
    now: float = 0.0,
) -> Lease:
    return Lease(
        id, id if pid is None else pid, binding or make_binding(), id if order is None else order, now
    )


def make_poll(version: str = "", node: str = "envoy-1", **more: Any) -> bytes:
    """The body of one of Envoy's discovery requests."""
    request: dict[str, Any] = {"node": {"id": node}, **more}
    if version:
        request["version_info"] = version
    return json.dumps(request).encode()


class QuietState(State):
    """A State on trio's clock that does not look for this machine's real shims, and counts when it would."""

    def __init__(self, default_mode: str = "http", settled: bool = True) -> None:
        super().__init__(Templates(HttpOptions()), MODES[default_mode], trio.current_time)
        self.settling.settled = settled
        self.searches = 0

    def recover(self) -> tuple[int, int]:
        self.searches += 1
        return 0, 0


def in_trio(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Runs an async test on a clock that jumps to the next deadline whenever nothing else can happen.

    Pipes and Unix sockets whose both ends are in the test are part of "nothing else": the kernel has
    delivered by the time a write returns.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            with trio.fail_after(FOREVER):
                await test(*args, **kwargs)

        trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))

    return run


class ModelEnvoy:
    """What an Envoy does with one resource type's answers, as seen on Envoy 1.40.

    It applies every resource that it does not refuse, and says afterwards only which version it last
    accepted whole.  A refused update leaves the old resource of that name in place.
    """

    def __init__(self) -> None:
        self.version = ""
        self.running: dict[str, Any] = {}
        self.answers: list[tuple[float, str]] = []  # (when, version)

    def receive(self, body: bytes, refuses: Callable[[str], bool], now: float = math.nan) -> None:
        document = json.loads(body)
        self.answers.append((now, document["version_info"]))
        offered = {resource["name"]: resource for resource in document["resources"]}
        self.running = {name: resource for name, resource in self.running.items() if name in offered}
        good = {name: resource for name, resource in offered.items() if not refuses(name)}
        self.running.update(good)
        if len(good) == len(offered):
            self.version = document["version_info"]


@contextmanager
def nothing_logged() -> Iterator[None]:
    """What must not even be a warning."""
    handler = BufferingHandler(1000)
    handler.setLevel(logging.WARNING)
    log = logging.getLogger("envoy-docker-shim")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    assert not [record.getMessage() for record in handler.buffer]


def make_span(
    trace: str = "0af7651916cd43dd8448eb211c80319c",
    id: str = "b7ad6b7169203331",
    parent: str = "",
    name: str = "GET",
    start: float = 0.0,
    end: float = 1.0,
    service: str = "web",
    status: int | None = 200,
    error: bool = False,
    **attributes: str,
) -> Span:
    """A span as the registrar keeps it; ``start`` and ``end`` in milliseconds."""
    told = {"http.url": "http://demo/"} | ({} if status is None else {"http.status_code": str(status)})
    resource = {
        "service.name": service,
        "deployment.environment.name": "dev",
        "container.name": f"{service}-1",
    }
    times = round(start * 10**6), round(end * 10**6)
    return Span(trace, id, parent, name, "server", *times, error, told | attributes, resource)


def make_export(*spans: Span) -> bytes:
    """An ExportTraceServiceRequest as Envoy sends it, made by OpenTelemetry's own library."""
    request = ExportTraceServiceRequest()
    for span in spans:
        group = request.resource_spans.add()
        group.resource.attributes.extend(_key_values(span.resource))
        made = group.scope_spans.add().spans.add(
            trace_id=bytes.fromhex(span.trace),
            span_id=bytes.fromhex(span.id),
            parent_span_id=bytes.fromhex(span.parent),
            name=span.name,
            kind=KINDS.index(span.kind),
            start_time_unix_nano=span.start,
            end_time_unix_nano=span.end,
        )
        made.attributes.extend(_key_values(span.attributes))
        if span.error:
            made.status.code = Status.STATUS_CODE_ERROR
    return bytes(request.SerializeToString())


def _key_values(texts: Mapping[str, str]) -> Iterator[KeyValue]:
    return (KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in texts.items())
