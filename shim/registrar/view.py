"""The state as JSON, for `/bindings`, `/status` and the `status` command."""

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from shim import __version__
from shim.core.discovery.sessions import Session
from shim.core.docker.labels import LABELS
from shim.core.leases.lease import Lease, Stage
from shim.registrar.state import State

# A dozen bindings, and half a millisecond.
PART_SIZE = 1 << 13
STATES = ("pending", "published", "serving", "rejected", "releasing")


def bindings(state: State, of: "Iterable[Lease] | None" = None) -> Iterator[dict[str, Any]]:
    """Every binding, each as it is at the moment it is written; docs/reference.md explains the fields.

    ``of``: only these.
    """
    leases = state.order.leases() if of is None else of
    return (_binding(lease, state) for lease in leases if state.registry.get(lease.id) is lease)


def status(state: State) -> dict[str, Any]:
    """The whole status; docs/reference.md explains the fields."""
    registry = state.registry
    return {
        "version": __version__,
        "since": wall(state.started_at, state),
        "docker": {"reachable": state.docker.reachable, "error": state.docker.error},
        "settled": state.settling.settled,
        "versions": {"clusters": registry.clusters.version, "listeners": registry.listeners.version},
        "firewall": firewall(state),
        "envoys": envoys(state),
        "bindings": bindings(state),
    }


def as_json(document: object) -> Iterator[bytes]:
    """JSON, a line for each item, in parts of about PART_SIZE bytes, each made when it is asked for."""
    text = bytearray()
    for piece in _pieces(document):
        text += piece
        if len(text) >= PART_SIZE:
            yield bytes(text)
            text.clear()
    yield bytes(text + b"\n")


def _pieces(document: object) -> Iterator[bytes]:
    if isinstance(document, dict):
        separator = b"{\n"
        for key, value in document.items():
            yield separator + _dumped(key) + b": "
            yield from _pieces(value)
            separator = b",\n"
        yield b"\n}" if document else b"{\n\n}"
    elif isinstance(document, Iterator):
        separator = b"[\n"
        for item in document:
            yield separator + _dumped(item)
            separator = b",\n"
        yield b"[\n\n]" if separator == b"[\n" else b"\n]"
    else:
        yield _dumped(document)


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _binding(lease: Lease, state: State) -> dict[str, Any]:
    address, backend = lease.binding.address, lease.binding.backend
    service, serving = lease.service, lease.serving
    reasons, acknowledged = _said_of(lease, state)
    found, since = _state_of(lease, bool(reasons), bool(acknowledged))
    udp = address.proto == "udp"
    way = state.network.way_to(lease.binding, serving)
    return {
        "protocol": address.proto,
        "address": address.ip,
        "port": address.port,
        "backend": str(backend),
        "state": found,
        "since": wall(since, state),
        "mode": "udp" if udp else serving.mode.name if serving else None,
        "mode_by": serving.chosen_by if serving and not udp else None,
        "service": service.name if service else None,
        "environment": service.environment if service else None,
        "container": service.container if service else None,
        "container_id": service.container_id if service else None,
        "image": service.image if service else None,
        "labels": _labels(lease),
        "cluster": lease.cluster or None,
        "network": {"by": way.by, "why": way.why},
        "client_address": client_address(lease, state),
        "acknowledged_by": acknowledged,
        "rejected_by": reasons,
        "problem": serving.problem if serving else "",
        "orphan": lease.orphan,
        "pid": lease.pid,
    }


def firewall(state: State) -> dict[str, Any]:
    """The status of the firewall's table."""
    network, kept = state.network, state.network.firewall
    if kept is None:
        return {"wanted": False, "docker_rules": network.docker_rules}
    found = kept.status
    return {
        "wanted": True,
        "docker_rules": network.docker_rules,
        "active": found.active,
        "reason": found.reason or found.error,
        "whole": found.whole,
        "addresses": network.size,
        "fail_open": network.fail_open,
        "restored": found.restored,
    }


def client_address(lease: Lease, state: State) -> dict[str, Any] | None:
    """Whether its container sees clients' addresses; None: as is wanted."""
    why = state.network.why_not_kept(lease)
    return None if why is None else {"kept": not why, "why": why}


def _labels(lease: Lease) -> dict[str, str]:
    if lease.labelled is None:
        return {}
    return {label.name: label.applied(*lease.labelled) for label in LABELS}


def _runs(session: Session, lease: Lease) -> bool:
    return session.listens(str(lease.binding.address), lease.listener_sequence)


def state_of(lease: Lease, state: State) -> str:
    """One of STATES."""
    return state_and_reasons(lease, state)[0]


def state_and_reasons(lease: Lease, state: State) -> tuple[str, dict[str, str]]:
    """One of STATES, and for each Envoy that refuses the binding why it does."""
    reasons, acknowledged = _said_of(lease, state)
    return _state_of(lease, bool(reasons), bool(acknowledged))[0], reasons


def _said_of(lease: Lease, state: State) -> tuple[dict[str, str], list[str]]:
    """What the Envoys that count say of a binding: node to reason of those that refuse it; who serves it."""
    sessions, name = state.sessions.trusted(), str(lease.binding.address)
    reasons = {s.node: s.rejected[name] for s in sessions if name in s.rejected}
    acknowledged = [] if lease.stage is not Stage.LISTED else [s.node for s in sessions if _runs(s, lease)]
    return reasons, acknowledged


def _state_of(lease: Lease, rejected: bool, acknowledged: bool) -> tuple[str, float]:
    if lease.stage is Stage.RELEASING:
        return "releasing", lease.stage_at
    if lease.binding.address.proto == "udp":
        return "serving", lease.since
    if lease.stage is Stage.PENDING:
        return "pending", lease.stage_at
    if rejected:
        return "rejected", lease.stage_at
    return ("serving" if acknowledged else "published"), lease.stage_at


def envoys(state: State) -> list[dict[str, Any]]:
    """The Envoys that are connected."""
    return [_envoy(session, state) for session in state.sessions]


def _envoy(session: Session, state: State) -> dict[str, Any]:
    def acked(version: str, current: str) -> dict[str, Any]:
        return {"acknowledged": version, "current": version == current}

    registry = state.registry
    return {
        "node": session.node,
        "version": session.build,
        "user": session.user,
        "trusted": session.trusted,
        "admin": session.admin,
        "since": wall(session.since, state),
        "clusters": acked(session.clusters.acked, registry.clusters.version),
        "listeners": acked(session.listeners.acked, registry.listeners.version),
        "refuses": session.listeners.nacked or session.clusters.nacked,
        "rejected": session.rejected,
    }


def wall(moment: float, state: State) -> str:
    """A moment on the registrar's monotonic clock as UTC wall time."""
    return datetime.fromtimestamp(time.time() - (state.now() - moment), timezone.utc).isoformat(
        timespec="seconds"
    )
