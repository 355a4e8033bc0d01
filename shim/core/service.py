"""Who a container is; how its ports are served is a ``Serving`` (shim.core.envoy.modes)."""

from typing import NamedTuple

from shim.core.binding import Backend


class Service(NamedTuple):
    """A container as traces, metrics and `status` name it.

    ``name`` is never empty, each of the others may be.  ``container`` and ``image`` are Docker's names,
    ``container_id`` the first 12 digits of its id, ``version`` the image's tag.  The last four are what the
    program that started it says (shim.core.docker.orchestrators).
    """

    name: str
    environment: str
    container: str
    image: str
    container_id: str = ""
    version: str = ""
    namespace: str = ""
    swarm_node: str = ""
    swarm_task: str = ""
    ecs_task: str = ""


def unnamed_service(backend: Backend) -> Service:
    """The service of a port whose container Docker does not name: the backend's address, and no more."""
    return Service(backend.ip, "", "", "")
