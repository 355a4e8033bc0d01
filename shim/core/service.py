"""Who a container is; how its ports are served is a ``Serving`` (shim.core.envoy.modes)."""

from typing import NamedTuple

from shim.core.binding import Backend


class Service(NamedTuple):
    """A container as traces, metrics and `status` name it.

    ``name`` is never empty; ``environment`` may be.  ``container`` and ``image`` are Docker's.
    """

    name: str
    environment: str
    container: str
    image: str
    container_id: str = ""


def unnamed_service(backend: Backend) -> Service:
    """What a port is called when Docker cannot say whose it is."""
    return Service(backend.ip, "", "", "")
