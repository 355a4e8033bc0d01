"""What clusters are called, and with them every service's statistics."""

import itertools
from collections.abc import Iterator

from shim.core.binding import WILDCARDS, Binding
from shim.core.service import Service
from shim.core.text import stat_name

# Host addresses that a name leaves out: most ports are published on one of these, and seldom on two.
_SHARED = frozenset((*WILDCARDS, "127.0.0.1", "::1"))


def cluster_names(service: Service, binding: Binding) -> Iterator[str]:
    """What a cluster may be called, best first: ``web-dev-8080``, and with the backend if that is taken.

    The port is the host's: it tells the replicas of a service on one host apart.  So does its
    address, unless it is one of those that most ports have.  It is part of the name whether there are
    replicas or not: were it for a second replica only, names would depend on the order of registration,
    and that differs after a restart of the registrar.
    """
    ip, port = binding.address.ip, binding.address.port
    own = "" if ip in _SHARED else stat_name(ip)
    parts = [stat_name(service.name), stat_name(service.environment), own, str(port)]
    plain = "-".join(part for part in parts if part)
    yield plain
    longer = f"{plain}-{stat_name(binding.backend.ip)}-{binding.backend.port}"
    yield longer
    # Another service's plain name may be the same text.
    for number in itertools.count(2):
        yield f"{longer}-{number}"
