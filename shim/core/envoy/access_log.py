"""The access log: a line of JSON for each request in http mode, for each connection in tcp mode.

The names are OpenTelemetry's (semantic conventions: http, url, client, server, tls, service, deployment,
container) where it has one.  Envoy escapes what clients send, byte by byte where it is not UTF-8, and leaves
out what is empty; each text of a client's has a bound, so that no line comes near the journal's 48 kB.

Pure, by the rules of filters.py: texts of the service are Envoy's format strings here (``logged``).
"""

from typing import NamedTuple

from shim.core.envoy.json import EXTENSIONS, Json
from shim.core.envoy.tracing import ATTRIBUTES, Collector, escape_format
from shim.core.service import Service

OFF, ON, TLS = "off", "on", "tls"
WORDS = (ON, TLS, OFF)  # of the label

# Container ports where clients begin with a TLS handshake, as IANA has them and as servers are shipped: who
# waits for a client's first bytes there keeps nobody waiting.
TLS_PORTS = frozenset(
    (
        *(443, 465, 636, 853, 990, 992, 993, 995, 2376, 3269, 4443, 5061, 5223, 5349, 5671, 5986),
        *(6443, 6514, 6697, 8243, 8443, 8883, 9443, 10250),
    )
)
# How often Envoy writes the lines that it has (its default: every 10 s).
FLUSH_INTERVAL_MS = 1000
# Where nothing comes from a client, its connection goes on after this.
HELLO_TIMEOUT = "0.2s"
# What clients may say they speak inside of TLS, in the order of Envoy's choice, is told apart by the filter
# chain: Envoy's log has no word for it.
PROTOCOLS = ("h2", "http/1.1")


SERVER_NAME, NEXT_PROTOCOL, TRACE_ID = "tls.client.server_name", "tls.next_protocol", "trace_id"


class Field(NamedTuple):
    """What a line has under one name, as Envoy's format in http mode, and in tcp mode; empty: not there."""

    name: str
    meaning: str  # for the documentation
    http: str
    tcp: str


def _in_both(name: str, meaning: str, form: str) -> Field:
    return Field(name, meaning, form, form)


FIELDS = (
    _in_both("time", "when it began, in UTC", "%START_TIME%"),
    _in_both(
        "client.address",
        "the client; in http mode as `trusted_hops` has it",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    ),
    _in_both("client.port", "its port", "%DOWNSTREAM_REMOTE_PORT%"),
    _in_both("server.port", "the published port", "%DOWNSTREAM_LOCAL_PORT%"),
    Field("server.address", "http: the host that the client asked for", "%REQ(:AUTHORITY):256%", ""),
    Field("http.request.method", "http: `GET`, ...", "%REQ(:METHOD):32%", ""),
    Field("url.path", "http: the path, without the query", "%PATH(NQ):2048%", ""),
    Field("url.query", "http: what comes after the `?`", "%QUERY_PARAMS(ORIG):1024%", ""),
    Field("http.response.status_code", "http: 0 where the client got no answer", "%RESPONSE_CODE%", ""),
    Field("http.request.body.size", "http: bytes", "%BYTES_RECEIVED%", ""),
    Field("http.response.body.size", "http: bytes", "%BYTES_SENT%", ""),
    Field("network.protocol", "http: `HTTP/1.1`, `HTTP/2`, ...", "%PROTOCOL%", ""),
    Field("user_agent.original", "http: the client's `User-Agent`", "%REQ(USER-AGENT):256%", ""),
    Field("http.request.id", "http: `X-Request-Id`", "%REQ(X-REQUEST-ID):64%", ""),
    Field("bytes.received", "tcp: what the client sent", "", "%BYTES_RECEIVED%"),
    Field("bytes.sent", "tcp: what the client was sent", "", "%BYTES_SENT%"),
    Field(SERVER_NAME, "tcp, TLS: the name that the client asked for (SNI)", "", "%REQUESTED_SERVER_NAME%"),
    # Of PROTOCOLS, a text of each filter chain's.
    Field(NEXT_PROTOCOL, "tcp, TLS: `h2` or `http/1.1`, which the client offers first (ALPN)", "", ""),
    _in_both("duration_ms", "how long it took, in milliseconds", "%DURATION%"),
    _in_both("response_flags", "what went wrong, in Envoy's words; `-`: nothing", "%RESPONSE_FLAGS%"),
    _in_both("upstream.address", "the container's address and port", "%UPSTREAM_HOST%"),
    _in_both(
        "upstream.failure",
        "why the container could not be reached",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    Field("response_details", "http: who answered, and why", "%RESPONSE_CODE_DETAILS%", ""),
    Field(TRACE_ID, "http, with [tracing](#tracing): the trace", "%TRACE_ID%", ""),
)


class AccessLog(NamedTuple):
    """One listener's: a file's ``path`` (empty: Envoy's standard output), and the texts of every line.

    ``tls``: its connections are looked into for the names in a TLS handshake.  ``protocol``: what those of
    this filter chain speak inside of TLS.
    """

    path: str
    service: Service  # from ``logged``
    tls: bool = False
    protocol: str = ""


def logged(service: Service) -> Service:
    """``service`` with its texts as format strings, in which a ``%`` is doubled."""
    return service._replace(
        **{field: escape_format(getattr(service, field)) for field in ATTRIBUTES.values()}
    )


def http_log(log: AccessLog, tracing: Collector | None) -> list[Json]:
    """The ``access_log`` of a connection manager."""
    form = {field.name: field.http for field in FIELDS if field.http}
    if tracing is None:
        del form[TRACE_ID]
    return _logger(log, form)


def tcp_log(log: AccessLog) -> list[Json]:
    """The ``access_log`` of a TCP proxy."""
    form = {field.name: field.tcp for field in FIELDS if field.tcp}
    if not log.tls:
        del form[SERVER_NAME]
    if log.protocol:
        form[NEXT_PROTOCOL] = log.protocol
    return _logger(log, form)


def _logger(log: AccessLog, form: dict[str, str]) -> list[Json]:
    named = {attribute: getattr(log.service, field) for attribute, field in ATTRIBUTES.items()}
    form |= {attribute: text for attribute, text in named.items() if text}
    kind, message = ("file", "FileAccessLog") if log.path else ("stream", "StdoutAccessLog")
    config: Json = {"@type": f"{EXTENSIONS}access_loggers.{kind}.v3.{message}"}
    if log.path:
        config["path"] = log.path
    config["log_format"] = {"omit_empty_values": True, "json_format": form}
    return [{"name": "log", "typed_config": config}]


def looks_for_tls(word: str, container_port: int) -> bool:
    """Whether the names in a TLS handshake are looked for where bytes pass, under this word of the label.

    Whoever looks waits for the client's first bytes.  Where the server speaks first that is HELLO_TIMEOUT of
    delay, and a client that sends and closes its end in one go is reset: so only where TLS is to be expected,
    or the label says so.
    """
    return word == TLS or (word == ON and container_port in TLS_PORTS)


def tls_inspector() -> Json:
    """The listener's fields that look for the names in a TLS handshake, and hold nobody up for long."""
    kind = {"@type": EXTENSIONS + "filters.listener.tls_inspector.v3.TlsInspector"}
    return {
        "listener_filters": [{"name": "tls_inspector", "typed_config": kind}],
        "listener_filters_timeout": HELLO_TIMEOUT,
        "continue_on_listener_filters_timeout": True,
    }
