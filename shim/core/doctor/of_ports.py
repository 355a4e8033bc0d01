"""Checks of each published port: known, in Envoy, listened on, and spoken to in its own protocol."""

from collections.abc import Iterator, Mapping
from typing import Any

from shim.core.binding import Address
from shim.core.doctor.facts import Facts, known
from shim.core.doctor.finding import Finding, listed

# Ports of containers whose protocol is never plain HTTP.
NOT_HTTP = {
    **dict.fromkeys((22, 2222), "SSH"),
    **dict.fromkeys((25, 465, 587), "SMTP"),
    **dict.fromkeys((110, 995, 143, 993), "mail"),
    **dict.fromkeys((443, 6443, 8443), "TLS"),
    **dict.fromkeys((1433, 1521, 3306, 5432, 6379, 6380, 11211, 27017), "a database"),
    **dict.fromkeys((1883, 5672, 4222, 9092), "a message broker"),
    **dict.fromkeys((21, 53, 389, 636, 853, 2181, 5222), "its own protocol"),
}
# Connections to a port that has never had a request, from which on it is taken for no HTTP.
SILENT = 5


def known_to_registrar(facts: Facts) -> Iterator[Finding]:
    """The registrar knows every shim."""
    pids = {binding["pid"] for binding in facts.bindings}
    strangers = [shim for shim in facts.shims if shim.pid not in pids]
    if strangers:
        yield Finding(
            f"the registrar does not know {len(strangers)} shims: {listed(s.address for s in strangers)}",
            "envoy-docker-shim resync; if it stays, the registrar lacks CAP_SYS_PTRACE, or the host's /proc",
        )


def in_envoy(facts: Facts) -> Iterator[Finding]:
    """Every port is Envoy's, and its labels make sense."""
    waiting = []
    for binding in facts.bindings:
        for node, reason in binding["rejected_by"].items():
            yield Finding(f"{name_of(binding)} is rejected by Envoy {node}: {reason}", _cure(reason))
        if binding["problem"]:
            yield Finding(
                f"{name_of(binding)}: {binding['problem']}", "correct the label, and make the container anew"
            )
        if binding["state"] in ("pending", "published") and facts.envoys:
            waiting.append(binding)
    if waiting:
        yield Finding(
            f"not served yet: {listed(map(_waiting, waiting))}",
            "call this again in 10 s; if it stays, look at the logs of registrar and Envoy",
        )


def _waiting(binding: Mapping[str, Any]) -> str:
    return f"{name_of(binding)} is {binding['state']}"


def _cure(reason: str) -> str:
    if "Address already in use" in reason or ("cannot bind" in reason and "Permission" not in reason):
        return "find the program that has it with ss -ltnp; Envoy tries again by itself"
    if "Permission denied" in reason:
        return "give Envoy CAP_NET_BIND_SERVICE, as its unit does"
    return "look at Envoy's log"


def listened_on(facts: Facts) -> Iterator[Finding]:
    """Somebody listens on each served address, by the kernel's word."""
    listening = known(facts.host.listening)
    silent = [
        binding
        for binding in facts.bindings
        if binding["protocol"] == "tcp"
        and binding["state"] == "serving"
        and (binding["address"], binding["port"]) not in listening
    ]
    if silent:
        yield Finding(
            f"nothing listens on {listed(map(name_of, silent))}, although Envoy has acknowledged it",
            "look at Envoy's log, restart it",
        )


def speaks_http(facts: Facts) -> Iterator[Finding]:
    """What is served in http mode is HTTP."""
    stats = known(facts.envoy.stats)
    seen = set[str]()
    for binding in facts.bindings:
        cluster = binding["cluster"]
        if binding["mode"] != "http" or cluster in seen:
            continue
        seen.add(cluster)
        if why := _not_http(binding, stats):
            yield Finding(
                f"{name_of(binding)} is served in http mode, and does not seem to be HTTP: {why}",
                "make the container anew with the label ProxyMode=tcp",
            )


def _not_http(binding: Mapping[str, Any], stats: Mapping[str, int]) -> str:
    """Why the port does not seem to speak HTTP; empty: it does, or nobody has asked it yet."""
    http, cluster = f"http.{binding['cluster']}.", f"cluster.{binding['cluster']}."
    if any(stats.get(f"{http}downstream_rq_{kind}xx", 0) for kind in (1, 2, 3)):
        return ""
    if bad := stats.get(f"{http}downstream_cx_protocol_error", 0):
        return f"{bad} connections did not begin with a request, and got a 400"
    if bad := stats.get(f"{cluster}upstream_cx_protocol_error", 0):
        return f"{bad} answers of the container were none"
    connections, requests = (stats.get(f"{http}downstream_{kind}_total", 0) for kind in ("cx", "rq"))
    if connections and not requests:
        usual = NOT_HTTP.get(int(str(binding["backend"]).rpartition(":")[2]), "")
        if usual:
            return f"{usual} is usual on the container's port, and no client has sent a request"
        if connections >= SILENT:
            return f"{connections} connections, and not one request"
    return ""


def name_of(binding: Mapping[str, Any]) -> str:
    """The address and the service, for a finding."""
    address = Address(binding["protocol"], binding["address"], binding["port"])
    return f"{address} ({binding['service']})" if binding["service"] else str(address)
