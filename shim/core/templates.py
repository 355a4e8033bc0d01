"""Ready-made listener and cluster JSON with holes in it.

A resource is built as a dict once for each shape, with placeholders; every binding's own bytes are then
made by filling the holes: microseconds instead of building and dumping a nested dict, which is what
lets one change among ten thousand bindings cost no more than itself.  What lies between the holes is the
same bytes object in all of them.
"""

import json
import re

from shim.core.binding import Backend, Binding, Service
from shim.core.resources import HttpOptions, cluster, http_listener, tcp_listener
from shim.core.tracing import service_for
from shim.core.versions import Resource

_HOLE = re.compile(rb'"@@port@@"|@@(\w+)@@')
# Stands for a port until it is replaced by its hole: resources want a number there.
_PORT = 1_000_000_007
_SERVICE = Service("@@service@@", "@@environment@@", "http", "@@container@@", "@@image@@")


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

    def fill(self, **values: str | int) -> Resource:
        """The resource with each hole filled; texts are escaped for the JSON string they stand in."""
        escaped = {name: json.dumps(str(value))[1:-1].encode() for name, value in values.items()}
        pieces = [self._parts[0]]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            pieces += (escaped[name], part)
        return tuple(pieces)


class Templates:
    """The resources of every binding under one configuration."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        # Statistics go by the cluster's name.
        place = ("@@name@@", "@@ip@@", _PORT, "@@cluster@@", "@@cluster@@")
        self._http = {
            free: Template(http_listener(*place, _SERVICE, options, freebind=free)) for free in (False, True)
        }
        self._tcp = {free: Template(tcp_listener(*place, freebind=free)) for free in (False, True)}
        self._cluster = {http: Template(cluster("@@name@@", "@@ip@@", _PORT, http)) for http in (False, True)}

    def listener(self, binding: Binding, cluster: str, service: Service) -> Resource:
        """The listener of one published TCP port."""
        address = binding.address
        # A specific address may come after us at boot, or come and go; a wildcard is always there.
        specific = address.ip not in ("0.0.0.0", "::")
        place: dict[str, str | int] = {
            "name": str(address),
            "ip": address.ip,
            "port": address.port,
            "cluster": cluster,
        }
        if service.mode == "tcp":
            return self._tcp[specific].fill(**place)
        shown = service_for(service, self._options.tracing)
        return self._http[specific].fill(
            **place,
            service=shown.name,
            environment=shown.environment,
            container=shown.container,
            image=shown.image,
        )

    def cluster(self, name: str, backend: Backend, http: bool) -> Resource:
        """The cluster of one container port."""
        return self._cluster[http].fill(name=name, ip=backend.ip, port=backend.port)
