"""Ready-made listener and cluster JSON with holes in it.

A resource is built as a dict once for each shape, with placeholders; every binding's own bytes are then
made by filling the holes: microseconds instead of building and dumping a nested dict, which is what
lets one change among ten thousand bindings cost no more than itself.  What lies between the holes is the
same bytes object in all of them.
"""

import json
import re
from functools import lru_cache
from typing import NamedTuple

from shim.core.binding import WILDCARDS, Backend, Binding, listener_ip, second_name
from shim.core.discovery.versions import Resource
from shim.core.envoy.access_log import OFF, AccessLog, logged, looks_for_tls
from shim.core.envoy.filters import Extras, HttpOptions
from shim.core.envoy.listeners import listener, second_listener
from shim.core.envoy.modes import Mode, Serving
from shim.core.envoy.tracing import service_for
from shim.core.envoy.upstreams import Upstream, cluster
from shim.core.service import Service
from shim.core.text import stat_name

_HOLE = re.compile(rb"@@(\w+)@@")
# Stand for ports until they are replaced by their holes: resources want a number there.
_PORT, _PUBLISHED = 1_000_000_007, 1_000_000_009
# So many templates are kept: labels can hold any number of timeouts.
SHAPES = 500
_SERVICE = Service(*(f"@@{field}@@" for field in Service._fields))
_LOGGED = Service(*(f"@@logged_{field}@@" for field in Service._fields))


class Template:
    """Bytes with named holes."""

    def __init__(self, resource: object) -> None:
        dumped = json.dumps(resource, separators=(",", ":")).replace(str(_PORT), "@@port@@")
        text = dumped.replace(str(_PUBLISHED), "@@published@@").encode()
        self._parts: list[bytes] = []
        self._names: list[str] = []
        end = 0
        for hole in _HOLE.finditer(text):
            self._parts.append(text[end : hole.start()])
            self._names.append(hole[1].decode())
            end = hole.end()
        self._parts.append(text[end:])
        self._holes = set(self._names)

    def fill(self, **values: str | int) -> Resource:
        """The resource with each hole filled; texts are escaped for the JSON string they stand in.

        ``values`` may have more than there are holes for.
        """
        escaped = {name: _escaped(str(values[name])) for name in self._holes}
        pieces = [self._parts[0]]
        for name, part in zip(self._names, self._parts[1:], strict=True):
            pieces += (escaped[name], part)
        return tuple(pieces)


# Names are in a listener and in its cluster, ports and addresses in many: equal bytes are one object.
# The texts are bounded by shim.core.text.
@lru_cache(maxsize=2048)
def _escaped(text: str) -> bytes:
    """A text as it stands in a JSON string."""
    return json.dumps(text)[1:-1].encode()


class Shape(NamedTuple):
    """What two listeners have in common that differ only by what fills the holes."""

    mode: Mode
    freebind: bool
    second: bool
    extras: Extras
    service: Service  # a hole for each text, but for those that are empty: they are left out of traces
    log: AccessLog | None = None  # with such holes too


def origin_of(service: Service, backend: Backend) -> str:
    """What counters are named after that are one container port's: another container's never add to them."""
    return f"{stat_name(service.container_id or backend.ip)}-{backend.port}"


class Templates:
    """The resources of every binding under one configuration.

    ``log_path``: the file of the access log, for those bindings that have one; empty: Envoy's output.
    """

    def __init__(self, options: HttpOptions, log_path: str = "") -> None:
        self._options = options
        self._log_path = log_path
        self._listeners: dict[Shape, Template] = {}
        self._clusters: dict[Upstream, Template] = {}

    def listener(
        self, binding: Binding, cluster: str, service: Service, serving: Serving, second_port: int = 0
    ) -> Resource:
        """The listener of one published TCP port, or with ``second_port`` its second one."""
        address = binding.address
        shown = service_for(service, self._options.tracing)
        shape = Shape(
            serving.mode,
            # A specific address may be assigned only after Envoy starts, or come and go.
            freebind=address.ip not in WILDCARDS and not second_port,
            second=bool(second_port),
            extras=serving.extras,
            service=_holes(_SERVICE, shown),
            log=self._log_of(binding, service, serving),
        )
        template = self._listeners.get(shape) or self._new_template(shape)
        name, ip = str(address), address.ip
        if second_port:
            name, ip = second_name(address), listener_ip(address)
        return template.fill(
            listener=name,
            ip=ip,
            port=second_port or address.port,
            published=address.port,
            cluster=cluster,
            origin=origin_of(service, binding.backend),
            **shown._asdict(),
            **(_under_logged(service) if shape.log else {}),
        )

    def _log_of(self, binding: Binding, service: Service, serving: Serving) -> AccessLog | None:
        if serving.access_log == OFF:
            return None
        # Mode auto waits for the first bytes in any case.
        looks = serving.mode.otherwise is not None or looks_for_tls(serving.access_log, binding.backend.port)
        tls = serving.mode.passes_bytes and looks
        return AccessLog(self._log_path, _holes(_LOGGED, service), tls)

    def _new_template(self, shape: Shape) -> Template:
        if len(self._listeners) >= SHAPES:
            self._listeners.clear()
        return self._listeners.setdefault(shape, self._template(shape))

    def _template(self, shape: Shape) -> Template:
        # Statistics go by the cluster's name.
        place = ("@@listener@@", "@@ip@@", _PORT, "@@cluster@@", "@@cluster@@")
        options, free = shape.extras.applied_to(self._options)._replace(log=shape.log), shape.freebind
        made = listener(shape.mode, *place, shape.service, options, freebind=free, origin="@@origin@@")
        return Template(second_listener(made, _PUBLISHED) if shape.second else made)

    def cluster(self, name: str, backend: Backend, upstream: Upstream) -> Resource:
        """The cluster of one container port."""
        if upstream not in self._clusters:
            self._clusters[upstream] = Template(cluster("@@cluster@@", "@@ip@@", _PORT, upstream))
        return self._clusters[upstream].fill(cluster=name, ip=backend.ip, port=backend.port)


def _holes(holes: Service, texts: Service) -> Service:
    return Service(*(hole if text else "" for hole, text in zip(holes, texts, strict=True)))


def _under_logged(service: Service) -> dict[str, str]:
    return {f"logged_{field}": text for field, text in logged(service)._asdict().items()}
