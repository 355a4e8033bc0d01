"""What the tests here share: an Envoy that serves given resources without a registrar."""

from collections.abc import Iterable

from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import bootstrap
from shim.core.envoy.json import Json
from shim.core.envoy.tracing import Collector
from shim.core.service import Service

LOOPBACK = "127.0.0.1"


def static_bootstrap(
    listeners: Iterable[Json], clusters: Iterable[Json], collector: Collector | None = None
) -> Json:
    """The bootstrap users get, but with the resources in it instead of being asked for."""
    boot = bootstrap("test-node", "test-cluster", Endpoint(LOOPBACK, 1), Endpoint(LOOPBACK, 0), collector)
    del boot["dynamic_resources"]
    boot["stats_flush_interval"] = "0.1s"  # histograms are shown from the next flush on
    resources = boot["static_resources"]
    resources["listeners"] = [untyped(listener) for listener in listeners]
    resources["clusters"] += [untyped(cluster) for cluster in clusters]
    return boot


def make_service(
    name: str = "web", environment: str = "prod", container: str = "web-1", image: str = "shop/web:1.2"
) -> Service:
    return Service(name, environment, container, image)


def untyped(resource: Json) -> Json:
    """Resources are typed in an answer, and not in a file."""
    return {key: value for key, value in resource.items() if key != "@type"}
