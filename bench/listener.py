"""Our http listener on one core, beside one written by hand with nothing in it, and with spans sampled.

No Docker: an origin, an Envoy with this project's listeners as the registrar makes them, an Envoy with the
bare one, and a third that takes the spans and drops them.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from bench.compiled import compiled
from bench.plan import Plan, cores
from bench.processes import pin
from bench.rows import Row, at_least
from bench.wrk import HIGH, Sample, Way, wrk
from shim.core.binding import Address, Backend, Binding
from shim.core.discovery.versions import Resource
from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import bootstrap
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.modes import HTTP, Serving
from shim.core.envoy.templates import Templates
from shim.core.envoy.tracing import Collector
from shim.core.service import Service
from tests.harness.envoy import Envoy
from tests.harness.host import Host
from tests.harness.wait import eventually

PART = "listener"
ORIGIN_PORT, COLLECTOR_PORT, BARE_PORT, FIRST_PORT = 9000, 9001, 9002, 9100
BARE = "bare"
SAMPLING = (0.0, 1.0, 100.0)  # percent
NAMES: dict[float | None, str] = {
    None: "no tracing",
    **{percent: f"sampling {percent:g} %" for percent in SAMPLING},
}
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = {
    "name": "router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


def listener(plan: Plan) -> Iterator[Row]:
    """Requests/s and Envoy's CPU per request, 64 connections."""
    where = cores()
    with _ways() as ways:
        for way in ways.values():
            pin(where.proxy, *way.carriers)
            pin(where.load, way.backend)
        seen: dict[str, list[Sample]] = {name: [] for name in ways}
        for _ in range(plan.times(21, 3)):
            for name, way in ways.items():
                seen[name].append(wrk(way, HIGH, where))
    for name in NAMES.values():
        beside = BARE if name == NAMES[None] else NAMES[None]
        words = "a listener written by hand" if beside == BARE else "no tracing"
        for figure, unit in (("requests/s", "/s"), ("CPU per request", "µs")):
            yield Row(
                PART,
                f"http listener, {name}, beside {words}: {figure}",
                unit,
                [sample[figure] for sample in seen[name]],
                [sample[figure] for sample in seen[beside]],
                at_least(0.95) if beside == BARE and unit == "/s" else None,
                "wrk, 64 connections, on this machine",
            )


@contextlib.contextmanager
def _ways() -> Iterator[dict[str, Way]]:
    with contextlib.ExitStack() as all_of_it:
        host = all_of_it.enter_context(Host())
        origin = host.popen([compiled("origin"), str(ORIGIN_PORT)])
        configs = {"ours": _ours(), "bare": _bare(), "spans": _span_sink()}
        envoys = {
            name: all_of_it.enter_context(
                Envoy(
                    host.dir / name,
                    config,
                    prefix=host.argv(),
                    connect=lambda c=config: host.connect(  # type: ignore[misc]
                        "127.0.0.1", c["admin"]["address"]["socket_address"]["port_value"]
                    ),
                )
            )
            for name, config in configs.items()
        }
        pin(cores().load, envoys["spans"].pid)
        ports = {BARE: BARE_PORT, **{name: FIRST_PORT + at for at, name in enumerate(NAMES.values())}}
        ways = {
            name: Way(host, ("127.0.0.1", port), [envoys["bare" if name == BARE else "ours"].pid], origin.pid)
            for name, port in ports.items()
        }
        for _, (ip, port), *_ in ways.values():
            url = f"http://{ip}:{port}/"
            eventually(lambda url=url: host.http_get(url).status == 200, 20, url)  # type: ignore[misc]
        yield ways


def _ours() -> dict[str, Any]:
    """The bootstrap as we make it, and what the registrar would serve as part of it."""
    collector = Collector("otlp", Endpoint("127.0.0.1", COLLECTOR_PORT))
    registrar, admin = Endpoint("127.0.0.1", 9), Endpoint("127.0.0.1", 9901)
    made = bootstrap("bench", "bench", registrar, admin, collector)
    del made["dynamic_resources"]
    service = Service("bench", "production", "bench-1", "bench:1", "0123456789ab")
    serving = Serving(HTTP)
    listeners = []
    for at, percent in enumerate(NAMES):
        tracing = None if percent is None else collector._replace(sampling=percent)
        templates = Templates(HttpOptions(tracing))
        binding = Binding(Address("tcp", "127.0.0.1", FIRST_PORT + at), Backend("127.0.0.1", ORIGIN_PORT))
        listeners.append(_read(templates.listener(binding, "origin", service, serving)))
    cluster = _read(Templates(HttpOptions()).cluster("origin", binding.backend, HTTP.upstream))
    static = made["static_resources"]
    static["listeners"] = listeners
    static["clusters"].append(cluster)
    return made


def _read(resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(resource))
    del found["@type"]  # only discovery says it
    return found


def _bare() -> dict[str, Any]:
    """What Envoy needs to pass on HTTP, and nothing else."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "origin"}}
    return _static(9902, BARE_PORT, route, [_endpoint("origin", ORIGIN_PORT)])


def _span_sink() -> dict[str, Any]:
    """Answers each export at once."""
    headers = [
        {"header": {"key": "content-type", "value": "application/grpc"}},
        {"header": {"key": "grpc-status", "value": "0"}},
    ]
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": headers,
    }
    return _static(9903, COLLECTOR_PORT, route, [])


def _static(admin: int, port: int, route: dict[str, Any], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    manager = {
        "@type": MANAGER,
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [ROUTER],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "admin": {"address": _socket(admin)},
        "static_resources": {
            "listeners": [{"name": "bench", "address": _socket(port), "filter_chains": [chain]}],
            "clusters": clusters,
        },
    }


def _endpoint(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _socket(port)}}]}]
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


def _socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
