"""`GET /services` and `/services/history`: what the page and `top` show.

Each answer is made once for all who ask between two looks at Envoy.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

from shim import __version__
from shim.core.leases.lease import Lease
from shim.core.traffic.history import EVERY as POINT
from shim.core.traffic.history import History
from shim.core.traffic.rows import Passed, Relayed, facts, of_cluster, of_relays, worst
from shim.core.traffic.statistics import UNREACHABLE
from shim.core.traffic.window import WINDOW
from shim.registrar.problems import problems
from shim.registrar.state import State
from shim.registrar.traffic import EVERY, Answers
from shim.registrar.view import PART_SIZE, as_json, envoys, state_and_reasons, wall
from shim.wire.traffic import FIELDS

NO_CONNECTIONS = "its container takes no connections"
RATES = ("requests", "request_bytes", "replies", "reply_bytes")


def services(state: State) -> "bytes | Iterator[bytes]":
    """The body of `/services`."""
    state.traffic.want()
    return _once(state, "/services", state.traffic.looks, EVERY, lambda: as_json(_services(state)))


def history(state: State, target: str) -> "bytes | Iterator[bytes]":
    """The body of `/services/history`; ``target`` is the request's, with its query."""
    traffic = state.traffic
    traffic.want()
    wanted = parse_qs(target.partition("?")[2]).get("id", [""])[0]
    kept = traffic.history
    end = wall(kept.newest * POINT, state) if kept.newest >= 0 else None
    head: dict[str, Any] = {"every": POINT, "end": end}
    if wanted:
        return json.dumps({**head, "series": kept.series(wanted)}).encode()
    return _once(state, "/services/history", kept.newest, math.inf, lambda: _activity(head, kept))


def groups(state: State) -> dict[str, list[Lease]]:
    """The leases of each service's port, by what the row of that is called: a cluster, or an address."""
    names: dict[object, str] = {}
    found: dict[str, list[Lease]] = {}
    for lease in state.order.leases():
        address = lease.binding.address
        key = lease.cluster or (address.proto, address.port, lease.binding.backend)
        name = names.setdefault(key, lease.cluster or str(address))
        found.setdefault(name, []).append(lease)
    return found


def _services(state: State) -> dict[str, Any]:
    traffic = state.traffic
    return {
        "now": wall(state.now(), state),
        "every": round(traffic.every, 1),
        "window": WINDOW,
        "warming": traffic.warming,
        "problems": problems(state),
        "registrar": {
            "version": __version__,
            "since": wall(state.started_at, state),
            "docker_reachable": state.docker.reachable,
        },
        "envoys": envoys(state),
        "page": state.page,
        "services": (_row(name, leases, state) for name, leases in groups(state).items()),
    }


def _row(name: str, leases: list[Lease], state: State) -> dict[str, Any]:
    seen = [state_and_reasons(lease, state) for lease in leases]
    serving, traffic = leases[0].serving, state.traffic
    reasons = [reason for _, reasons in seen for reason in reasons.values()]
    if serving is not None and serving.problem:
        reasons.append(serving.problem)
    passed = Passed(
        traffic.window.seconds,
        traffic.window.sums(name),
        traffic.counted.total(name),
        traffic.window.percentiles(name),
    )
    if passed.sums is not None and passed.sums[UNREACHABLE]:
        reasons.append(NO_CONNECTIONS)
    row = facts(name, leases, worst([found for found, _ in seen]), reasons[0] if reasons else "")
    if leases[0].binding.address.proto == "udp":
        return row | of_relays(_relayed(leases, state))
    http = serving is not None and serving.mode.statistics == "http"
    return row | of_cluster(passed, http, traffic.looks > 0)


def _relayed(leases: list[Lease], state: State, window: float = WINDOW) -> Relayed:
    udp = state.shims.udp_traffic
    totals = Counter(dict.fromkeys(FIELDS, 0))
    for lease in leases:
        totals.update(udp.of(lease.id) or {})
    return Relayed(
        {field: sum(udp.rate(lease.id, field, window) for lease in leases) for field in RATES}, totals
    )


def relayed_points(state: State) -> Iterator[tuple[str, list[float]]]:
    """Each UDP service that had any traffic, and its numbers for a point of the history."""
    for name, leases in groups(state).items():
        if leases[0].binding.address.proto != "udp":
            continue
        rates, totals = _relayed(leases, state, POINT)
        if totals["clients"] or any(rates.values()):
            none, clients = math.nan, float(totals["clients"])
            passed = rates["request_bytes"], rates["reply_bytes"]
            yield name, [rates["requests"], 0.0, none, none, none, clients, 0.0, *passed]


def _activity(head: dict[str, Any], kept: History) -> Iterator[bytes]:
    text = bytearray(json.dumps(head)[:-1].encode() + b', "requests": {')
    separator = b"\n"
    for name, values in kept.activity():
        text += separator + json.dumps(name).encode() + b": " + values
        separator = b",\n"
        if len(text) >= PART_SIZE:
            yield bytes(text)
            text.clear()
    yield bytes(text + b"\n}}\n")


def _once(
    state: State, page: str, version: int, fresh: float, make: Callable[[], Iterator[bytes]]
) -> "bytes | Iterator[bytes]":
    """The page as it was made of this version, within ``fresh`` seconds; else it is made, and kept.

    One at a time is kept while it is made: those who read slowly do not have one each in memory.
    """
    answers = state.traffic.answers
    made_at, made_of, body = answers.made.get(page, (-math.inf, -1, b""))
    if made_of == version and state.now() - made_at < fresh:
        return body
    if answers.making.get(page) == version:
        return make()
    answers.making[page] = version
    return _kept(answers, page, version, state.now(), make())


def _kept(answers: Answers, page: str, version: int, now: float, parts: Iterator[bytes]) -> Iterator[bytes]:
    made = bytearray()
    for part in parts:
        if answers.making.get(page) == version:
            made += part
        else:
            made.clear()  # there is a newer one by now
        yield part
    if answers.making.get(page) == version:
        answers.made[page] = now, version, bytes(made)
        del answers.making[page]
