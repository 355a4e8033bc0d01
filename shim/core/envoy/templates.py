"""Ready-made listener and cluster JSON with holes in it.

A resource is built as a dict once for each shape, with placeholders; every binding's own bytes are then
made by filling the holes: microseconds instead of building and dumping a nested dict, which is what
lets one change among ten thousand bindings cost no more than itself.  What lies between the holes is the
same bytes object in all of them.
"""

import json
import re
from typing import NamedTuple

from shim.core.binding import WILDCARDS, Backend, Binding
from shim.core.discovery.versions import Resource
from shim.core.envoy.listeners import HttpOptions, listener
from shim.core.envoy.modes import Mode, Serving
from shim.core.envoy.tracing import service_for
from shim.core.envoy.upstreams import Upstream, cluster
from shim.core.service import Service

_HOLE = re.compile(rb'"@@port@@"|@@(\w+)@@')
# Stands for a port until it is replaced by its hole: resources want a number there.
_PORT = 1_000_000_007
_SERVICE = Service("@@service@@", "@@environment@@", "@@container@@", "@@image@@")


class Template:
    """Bytes with named holes."""

    def __init__(self, resource: object) -> None:
        text = json.dumps(resource, separators=(",", ":")).replace(str(_PORT), '"@@port@@"').encode()
        self._parts: list[bytes] = []
        self._names: list[str] = []
        end = 0
        for hole in _HOLE.finditer(text):
            self._parts.append(text[end : hole.start()])
            self._names.append((hole[1] or b"port").decode())
            end = hole.end()
        self._parts.append(text[end:])
        self._holes = set(self._names)

    def fill(self, **values: str | int) -> Resource:
        """The resource with each hole filled; texts are escaped for the JSON string they stand in.

        ``values`` may have more than there are holes for.
        """
        escaped = {name: json.dumps(str(values[name]))[1:-1].encode() for name in self._holes}
        pieces = [self._parts[0]]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            pieces += (escaped[name], part)
        return tuple(pieces)


class Shape(NamedTuple):
    """What two listeners have in common that differ only by what fills the holes."""

    mode: Mode
    freebind: bool


class Templates:
    """The resources of every binding under one configuration."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._listeners: dict[Shape, Template] = {}
        self._clusters = {
            upstream: Template(cluster("@@name@@", "@@ip@@", _PORT, upstream)) for upstream in Upstream
        }

    def listener(self, binding: Binding, cluster: str, service: Service, serving: Serving) -> Resource:
        """The listener of one published TCP port."""
        address = binding.address
        # A specific address may come after us at boot, or come and go; a wildcard is always there.
        shape = Shape(serving.mode, freebind=address.ip not in WILDCARDS)
        template = self._listeners.get(shape) or self._listeners.setdefault(shape, self._template(shape))
        shown = service_for(service, self._options.tracing)
        return template.fill(
            name=str(address),
            ip=address.ip,
            port=address.port,
            cluster=cluster,
            service=shown.name,
            environment=shown.environment,
            container=shown.container,
            image=shown.image,
        )

    def _template(self, shape: Shape) -> Template:
        # Statistics go by the cluster's name.
        network_filter = shape.mode.network_filter("@@cluster@@", "@@cluster@@", _SERVICE, self._options)
        return Template(
            listener("@@name@@", "@@ip@@", _PORT, "@@cluster@@", network_filter, freebind=shape.freebind)
        )

    def cluster(self, name: str, backend: Backend, upstream: Upstream) -> Resource:
        """The cluster of one container port."""
        return self._clusters[upstream].fill(name=name, ip=backend.ip, port=backend.port)
