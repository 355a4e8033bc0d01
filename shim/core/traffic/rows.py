"""The rows of `GET /services`: whose a service is, how it is, and what passes it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from shim.core.binding import Address
from shim.core.leases.lease import Lease
from shim.core.traffic.statistics import (
    ANSWERED,
    CONNECTS,
    FAILED,
    FIELDS,
    OPEN,
    RECEIVED,
    REQUESTS,
    SENT,
    UNREACHABLE,
)
from shim.wire.flags import format_address

# Of a service with several ports, the state that needs a look most comes first.
WORST_FIRST = ("rejected", "pending", "published", "releasing", "serving")
_NOTHING = [0] * len(FIELDS)


class Passed(NamedTuple):
    """What passed a cluster.  ``sums``: a number for each of FIELDS, of the last ``seconds``.

    ``totals``: the same since Envoy's start.  None: nobody has looked, or there has been nothing.
    ``percentiles``: of latency.PERCENTILES, in ms.
    """

    seconds: float
    sums: "list[int] | None"
    totals: "list[int] | None"
    percentiles: "list[float] | None"


class Relayed(NamedTuple):
    """What UDP relays passed on: per second, and since they started, by the words of ``wire.traffic``."""

    rates: dict[str, float]
    totals: "Counter[str]"


def facts(name: str, leases: Sequence[Lease], state: str, why: str) -> dict[str, Any]:
    """What a row says of the service itself.  ``leases``: of one container port, in order."""
    lease = leases[0]
    service, serving = lease.service, lease.serving
    udp = lease.binding.address.proto == "udp"
    return {
        "id": name,
        "service": service.name if service else None,
        "environment": service.environment if service else None,
        "container": service.container if service else None,
        "container_id": service.container_id if service else None,
        "image": service.image if service else None,
        "protocol": lease.binding.address.proto,
        "addresses": [_shown(lease.binding.address) for lease in leases],
        "mode": "udp" if udp else serving.mode.name if serving else None,
        "mode_by": serving.chosen_by if serving and not udp else None,
        "state": state,
        "why": why,
    }


def of_cluster(passed: Passed, http: bool, known: bool) -> dict[str, Any]:
    """The figures of a TCP service.  ``http``: some of its connections may be; ``known``: Envoy was asked."""
    counts, totals = passed.sums or _NOTHING, passed.totals or _NOTHING
    seconds = passed.seconds
    warm = known and seconds > 0
    answered = counts[ANSWERED]
    p50, p95, p99 = passed.percentiles or (None, None, None)
    return {
        "requests": _rate(counts[REQUESTS], seconds) if http and warm else None,
        # As Linkerd has it: of the answers, those that are none of 500 and above.
        "success": round(1 - min(counts[FAILED], answered) / answered, 5) if answered else None,
        "p50": _ms(p50),
        "p95": _ms(p95),
        "p99": _ms(p99),
        "connections": totals[OPEN] if known else None,
        "connects": _rate(counts[CONNECTS], seconds) if warm else None,
        "in": _rate(counts[RECEIVED], seconds) if warm else None,
        "out": _rate(counts[SENT], seconds) if warm else None,
        "packets_in": None,
        "packets_out": None,
        "unreachable": _rate(counts[UNREACHABLE], seconds) if warm else None,
        "total": _totals(
            totals[REQUESTS], totals[FAILED], totals[CONNECTS], totals[RECEIVED], totals[SENT], None, None
        ),
    }


def of_relays(relayed: Relayed) -> dict[str, Any]:
    """The figures of a UDP service."""
    rates, totals = relayed
    return {
        "requests": None,
        "success": None,
        "p50": None,
        "p95": None,
        "p99": None,
        "connections": totals["clients"],
        "connects": None,
        "in": round(rates["request_bytes"], 3),
        "out": round(rates["reply_bytes"], 3),
        "packets_in": round(rates["requests"], 3),
        "packets_out": round(rates["replies"], 3),
        "unreachable": None,
        "total": _totals(
            None,
            None,
            None,
            totals["request_bytes"],
            totals["reply_bytes"],
            totals["requests"],
            totals["replies"],
        ),
    }


def worst(states: Sequence[str]) -> str:
    """The one of these states that comes first in WORST_FIRST."""
    return min(states, key=WORST_FIRST.index)


def _totals(
    requests: "int | None",
    failed: "int | None",
    connects: "int | None",
    bytes_in: int,
    bytes_out: int,
    packets_in: "int | None",
    packets_out: "int | None",
) -> "dict[str, int | None]":
    return {
        "requests": requests,
        "failed": failed,
        "connects": connects,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "packets_in": packets_in,
        "packets_out": packets_out,
    }


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 3)


def _ms(value: "float | None") -> "float | None":
    return None if value is None else round(value, 2)


def _shown(address: Address) -> str:
    return format_address(address.ip, address.port)
