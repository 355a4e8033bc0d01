"""The registrar's own metrics, and a series for each service by which Envoy's can be joined."""

from collections import Counter
from collections.abc import Iterator

from shim import __version__
from shim.core.leases.lease import Lease
from shim.core.metrics.families import HISTOGRAM, INFO, Family, Labels, Sample, counter, gauge
from shim.host.process import figures
from shim.registrar.pushes import KINDS
from shim.registrar.state import State
from shim.registrar.traces import RESULTS
from shim.registrar.view import STATES, state_of
from shim.wire.flags import format_address

NO_SPANS = dict.fromkeys(RESULTS, 0)
PREFIX = "envoy_docker_shim_"
# Name, meaning, label, and the label's words with the field of ``wire.traffic`` for each.
UDP_COUNTERS = (
    (
        "datagrams",
        "Datagrams from clients (in), and from the container (out).",
        "direction",
        {"in": "requests", "out": "replies"},
    ),
    ("bytes", "Their bytes.", "direction", {"in": "request_bytes", "out": "reply_bytes"}),
    (
        "dropped",
        "Datagrams that were lost: no room for a client, or the kernel would not send.",
        "reason",
        {"no_room": "refused", "to_container": "dropped_requests", "to_client": "dropped_replies"},
    ),
    ("evicted", "Clients that made room for others.", "", {"": "evicted"}),
    ("errors", "ICMP errors from the container: nothing listens there.", "", {"": "errors"}),
)


def families(state: State) -> Iterator[Family]:
    """Every family, in an order in which each is made once those before it have been written.

    The services come first: whoever reads them slowly has the states counted meanwhile.
    """
    states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    yield Family(
        f"{PREFIX}service",
        INFO,
        "A cluster, by the name that Envoy's metrics have, and the service behind it.",
        _services(state, states),
    )
    by_state = [(count, (("state", name),)) for name, count in states.items()]
    yield gauge(f"{PREFIX}bindings", "Published ports, by state.", *by_state)
    yield Family(f"{PREFIX}build", INFO, "The version.", [Sample(1, (("version", __version__),), "_info")])
    yield from _envoys(state)
    yield from _pushes(state)
    yield from _rest(state)
    yield from _spans(state)
    yield from _udp(state)
    yield from _process()


def _services(state: State, states: "Counter[str]") -> Iterator[Sample]:
    """A sample for each cluster, however many ports lead to it; and all ports' states are counted."""
    told: set[str] = set()
    for lease in state.order.leases():
        if state.registry.get(lease.id) is not lease:
            continue
        states[state_of(lease, state)] += 1
        if lease.cluster and lease.cluster not in told:
            told.add(lease.cluster)
            yield Sample(1, _service(lease), "_info")


def _service(lease: Lease) -> Labels:
    service, serving = lease.service, lease.serving
    return (
        ("cluster", lease.cluster),
        ("service", service.name if service else ""),
        ("environment", service.environment if service else ""),
        ("container", service.container if service else ""),
        ("image", service.image if service else ""),
        ("mode", serving.mode.name if serving else ""),
    )


def _envoys(state: State) -> Iterator[Family]:
    sessions = state.sessions.trusted()
    yield gauge(f"{PREFIX}envoys", "Envoys that are connected, and count.", (len(sessions), ()))
    current = [
        (
            float(getattr(session, kind).acked == getattr(state.registry, kind).version),
            _of(session.node, kind),
        )
        for session in sessions
        for kind in KINDS
    ]
    yield gauge(f"{PREFIX}envoy_current", "Whether an Envoy has acknowledged the current version.", *current)
    rejected = [(len(session.rejected), (("node", session.node),)) for session in sessions]
    yield gauge(f"{PREFIX}envoy_rejected_listeners", "Listeners that an Envoy refuses.", *rejected)


def _of(node: str, kind: str) -> Labels:
    return (("node", node), ("kind", kind))


def _pushes(state: State) -> Iterator[Family]:
    pushes = {(("kind", kind),): found for kind, found in state.pushes.items()}
    for name, meaning, field in (
        ("pushes", "Answers with another version, to Envoys that count.", "sent"),
        ("acknowledgements", "Those that Envoy took whole.", "accepted"),
        ("rejections", "Those that Envoy refused, in whole or in part.", "refused"),
    ):
        values = [(getattr(found, field), labels) for labels, found in pushes.items()]
        yield counter(f"{PREFIX}{name}", meaning, *values)
    yield Family(
        f"{PREFIX}push_duration_seconds",
        HISTOGRAM,
        "From such an answer until Envoy said what it did with it.",
        (sample for labels, found in pushes.items() for sample in found.seconds.samples(labels)),
    )


def _rest(state: State) -> Iterator[Family]:
    admitted, found = state.shims.admitted, state.shims.found
    yield counter(
        f"{PREFIX}registrations",
        "Shims, by how they became known.",
        (admitted - found, (("by", "registration"),)),
        (found, (("by", "search"),)),
    )
    yield gauge(
        f"{PREFIX}releases_waiting",
        "Shims of stopping containers that wait for Envoy to leave their port.",
        (state.shims.releases.waiting, ()),
    )
    yield gauge(f"{PREFIX}docker_reachable", "Whether Docker's API answers.", (state.docker.reachable, ()))
    yield gauge(
        f"{PREFIX}settled", "Whether as much is known as before a restart.", (state.settling.settled, ())
    )
    network, firewall = state.network, state.network.firewall
    status = firewall.status if firewall is not None else None
    yield gauge(
        f"{PREFIX}firewall_active",
        "Whether the firewall table leads network clients to Envoy.",
        (status is not None and status.active, ()),
    )
    yield gauge(
        f"{PREFIX}firewall_whole",
        "Whether the kernel has the table that is wanted.",
        (status is not None and status.whole, ()),
    )
    yield gauge(f"{PREFIX}firewall_addresses", "Addresses in the firewall table.", (network.size, ()))
    restored = status.restored if status is not None else 0
    yield counter(f"{PREFIX}firewall_restorations", "How often others changed the table.", (restored, ()))


def _spans(state: State) -> Iterator[Family]:
    traces = state.traces
    counts = traces.counts if traces is not None else NO_SPANS
    yield counter(
        f"{PREFIX}spans",
        "Spans that Envoys sent here: kept, or dropped for their rate or because they are none.",
        *((number, (("result", result),)) for result, number in counts.items()),
    )
    kept = len(traces.kept) if traces is not None else 0
    yield gauge(f"{PREFIX}spans_stored", "Spans that are kept now.", (kept, ()))


def _udp(state: State) -> Iterator[Family]:
    """Of the traffic that passes relays: network clients go Docker's own way where it has one."""
    traffic = state.shims.udp_traffic
    totals: dict[Labels, Counter[str]] = {}
    for lease in state.order.leases():
        if (found := traffic.of(lease.id)) is not None:
            totals.setdefault(_udp_port(lease), Counter()).update(found)
    yield gauge(f"{PREFIX}udp_relays", "Processes that relay UDP now.", (len(traffic.relaying), ()))
    clients = [(total["clients"], labels) for labels, total in totals.items()]
    yield gauge(f"{PREFIX}udp_clients", "UDP clients that are relayed.", *clients)
    for name, meaning, label, fields in UDP_COUNTERS:
        values = [
            (total[field], (*labels, (label, word)) if label else labels)
            for labels, total in totals.items()
            for word, field in fields.items()
        ]
        yield counter(f"{PREFIX}udp_{name}", meaning, *values)


def _udp_port(lease: Lease) -> Labels:
    service, address = lease.service, lease.binding.address
    return (
        ("address", format_address(address.ip, address.port)),
        ("service", service.name if service else ""),
        ("environment", service.environment if service else ""),
        ("container", service.container if service else ""),
    )


def _process() -> Iterator[Family]:
    try:
        found = figures()
    except OSError:
        return  # no descriptor is free, for example
    yield counter("process_cpu_seconds", "CPU time in user and kernel, in seconds.", (found.cpu, ()))
    yield gauge("process_start_time_seconds", "Start, in seconds since the epoch.", (found.started, ()))
    yield gauge("process_resident_memory_bytes", "Resident memory, in bytes.", (found.resident, ()))
    yield gauge("process_virtual_memory_bytes", "Virtual memory, in bytes.", (found.virtual, ()))
    yield gauge("process_open_fds", "Open descriptors.", (found.open_files, ()))
    yield gauge("process_max_fds", "Descriptors that may be open.", (found.max_files, ()))
