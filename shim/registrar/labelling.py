"""Gives leases the labels of their containers, or none where Docker does not tell them in time."""

import logging
import math
from collections.abc import Callable, Iterable
from itertools import islice

from shim.core.binding import Binding
from shim.core.docker.labels import describe
from shim.core.envoy.modes import Serving
from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry
from shim.core.leases.server_first import ServerFirst
from shim.core.service import Service, unnamed_service
from shim.registrar.events import PendingFlag

log = logging.getLogger("envoy-docker-shim")

# A container whose labels Docker has not told by then (seconds) counts as one without labels.
LABEL_TIMEOUT = 10.0
# How many bindings of a container the log lists.
SHOWN = 10


class Labelling:
    """``wanted`` is set when Docker should be asked for the labels of a lease."""

    def __init__(self, registry: Registry, default: Serving, clock: Callable[[], float]) -> None:
        self.wanted = PendingFlag()
        self.default = default
        self.server_first = ServerFirst()
        self._registry = registry
        self._now = clock

    def label(self, leases: Iterable[tuple[Lease, Service, Serving]]) -> bool:
        """Label these leases, and log what is new; returns whether anything is."""
        news: dict[tuple[Service, Serving], list[Binding]] = {}
        for lease, service, said in leases:
            serving = self.server_first.decided(said, service.image, lease.binding.backend.port)
            if lease.labelled != (service, serving):
                news.setdefault((service, serving), []).append(lease.binding)
                self._registry.label(lease, service, serving, self._now())
        for (service, serving), bindings in news.items():
            if serving.problem:
                log.warning("%s: %s", service.name, serving.problem)
            more = f" and {len(bindings) - SHOWN} more" if len(bindings) > SHOWN else ""
            log.info("%s: %s%s", describe(service, serving), ", ".join(map(str, bindings[:SHOWN])), more)
        return bool(news)

    def due(self) -> float:
        """When the next container is served without labels (seconds); infinity: none waits for labels."""
        waiting = islice(self._registry.unlabelled(), 1)
        return min((container.since + LABEL_TIMEOUT for container in waiting), default=math.inf)

    def advance(self, now: float) -> None:
        """Label the leases of containers that Docker has not named in time."""
        if now < self.due():
            return
        for container in list(self._registry.unlabelled()):
            if now - container.since < LABEL_TIMEOUT:
                break
            leases = [self._registry.get(lease_id) for lease_id in sorted(container.leases)]
            for lease in leases:
                assert lease is not None
                log.warning("%s: Docker has not said whose it is: served without labels", lease.binding)
                unnamed = unnamed_service(lease.binding.backend)
                self.label([(lease, unnamed, self.default)])
