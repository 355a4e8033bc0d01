"""What clusters are called, and with them every service's statistics."""

import itertools
from collections.abc import Iterator

from shim.core.binding import WILDCARDS, Binding
from shim.core.service import Service
from shim.core.text import stat_name

# Host addresses that a name leaves out: a service seldom has replicas on two of these.
_EVERYBODYS = frozenset((*WILDCARDS, "127.0.0.1", "::1"))


def cluster_names(service: Service, binding: Binding) -> Iterator[str]:
    """What a cluster may be called, best first: ``web-dev-8080``, and with the backend if that is taken.

    The port is the host's: it tells the replicas of a service on one host apart.  So does its
    address, unless it is everybody's.  It is part of the name whether there are replicas or not: a
    name must not depend on who came first, or after a registrar's restart it is another's.
    """
    ip, port = binding.address.ip, binding.address.port
    own = "" if ip in _EVERYBODYS else stat_name(ip)
    parts = [stat_name(service.name), stat_name(service.environment), own, str(port)]
    plain = "-".join(part for part in parts if part)
    yield plain
    longer = f"{plain}-{stat_name(binding.backend.ip)}-{binding.backend.port}"
    yield longer
    # Somebody else's plain name may look just like that.
    for number in itertools.count(2):
        yield f"{longer}-{number}"
