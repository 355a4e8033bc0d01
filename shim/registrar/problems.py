"""The problems that the registrar knows of, without a question to the host: the lines of `status`."""

from collections.abc import Iterator
from typing import Any

from shim.core.doctor import problems as lines
from shim.core.leases.lease import Lease
from shim.registrar.state import State
from shim.registrar.view import client_address, envoys, firewall, state_and_reasons


def problems(state: State) -> list[str]:
    """A line each."""
    table = firewall(state)
    report = {
        "docker": {"reachable": state.docker.reachable, "error": state.docker.error},
        "envoys": envoys(state),
        "firewall": table,
        "bindings": list(_noticeable(state, lines.is_passed(table))),
    }
    return lines.problems(report)


def _noticeable(state: State, passed: bool) -> Iterator[dict[str, Any]]:
    """The bindings of which there may be something to say; ``passed``: network clients may pass Envoy."""
    rejected = {name for session in state.sessions.trusted() for name in session.rejected}
    for lease in state.order.leases():
        serving = lease.serving
        odd = serving is not None and (serving.problem or serving.keeps_client)
        if odd or passed or str(lease.binding.address) in rejected:
            yield _binding(lease, state)


def _binding(lease: Lease, state: State) -> dict[str, Any]:
    """What the lines are made of; as in `/bindings`."""
    address, service, serving = lease.binding.address, lease.service, lease.serving
    return {
        "protocol": address.proto,
        "address": address.ip,
        "port": address.port,
        "mode": serving.mode.name if serving else None,
        "service": service.name if service else None,
        "container": service.container if service else None,
        "rejected_by": state_and_reasons(lease, state)[1],
        "problem": serving.problem if serving else "",
        "network": {"by": state.network.way_to(lease.binding, serving).by},
        "client_address": client_address(lease, state),
    }
