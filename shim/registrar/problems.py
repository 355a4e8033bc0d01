"""The problems that the registrar knows of, without a question to the host.

They are the lines of `status`, and what of the checks of `doctor` shows without one.
"""

from collections.abc import Iterator
from typing import Any

from shim.core.doctor import problems as lines
from shim.core.leases.lease import Lease
from shim.core.traffic.statistics import UNREACHABLE
from shim.core.traffic.window import WINDOW
from shim.registrar.pushes import KINDS
from shim.registrar.state import State
from shim.registrar.view import client_address, envoys, firewall, state_and_reasons

# An Envoy with some thousand ports takes so long (seconds) to say what it did with an answer.
PATIENCE = 15.0


def problems(state: State) -> list[str]:
    """A line each."""
    table = firewall(state)
    report = {
        "docker": {"reachable": state.docker.reachable, "error": state.docker.error},
        "envoys": envoys(state),
        "firewall": table,
        "bindings": list(_noticeable(state, lines.is_passed(table))),
    }
    return [*lines.problems(report), *_behind(state), *_unreachable(state)]


def _behind(state: State) -> Iterator[str]:
    """Envoys that hang; `doctor` says the same of every one that is behind."""
    for session in state.sessions.trusted():
        waiting = [(kind, getattr(session, kind)) for kind in KINDS]
        late = [kind for kind, told in waiting if not told.judged and state.now() - told.served_at > PATIENCE]
        if late:
            yield f"Envoy {session.node} has not acknowledged the current {' and '.join(late)}"


def _unreachable(state: State) -> Iterator[str]:
    """Containers that do not take connections, as far as Envoy has lately tried."""
    window = state.traffic.window
    failing = {cluster: counts[UNREACHABLE] for cluster, counts in window.active() if counts[UNREACHABLE]}
    told: set[str] = set()
    for lease in state.order.leases():
        if lease.cluster in failing and lease.cluster not in told:
            told.add(lease.cluster)
            if len(told) > lines.SHOWN:
                yield f"and so do those of {len(failing) - lines.SHOWN} other services"
                return
            address, backend = lease.binding
            name = (lease.service.container if lease.service else "") or backend.ip
            yield (
                f"{name} takes no connections on port {backend.port}, published as {address}:"
                f" {failing[lease.cluster]} failed in {WINDOW:.0f} s"
            )


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
