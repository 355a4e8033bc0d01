"""Every key of the configuration: a row each, with its default, its meaning, and what its value may be."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shim.config import values
from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import HEAP_MB, MAX_HEADER_KB
from shim.core.envoy.modes import DEFAULT_MODE, Mode
from shim.core.envoy.sinks import Sinks
from shim.core.envoy.tracing import LOCAL, OTLP, ZIPKIN, Collector
from shim.core.firewall.names import PORTS
from shim.core.firewall.table import USUAL, Keeping
from shim.wire.words import DEFAULT_SOCKET, SOCKET_VARIABLE

OTLP_PORT, ZIPKIN_PORT = 4317, 9411


class Key(NamedTuple):
    """One row, for the documentation too."""

    name: str
    default: Any
    meaning: str
    parse: Callable[[Any], Any]  # raises ValueError, or ConfigError from a section inside
    environment: str  # a variable that overrides it, or empty

    @property
    def shown_default(self) -> str:
        """The default as documentation writes it."""
        if self.default in (None, Sinks()):
            return "none"
        if isinstance(self.default, bool):
            return f"`{str(self.default).lower()}`"
        if isinstance(self.default, range):
            return f"`{self.default[0]}-{self.default[-1]}`"
        if self.default == "":
            return "empty"
        return f"`{self.default.name if isinstance(self.default, Mode) else self.default}`"


class ConfigError(Exception):
    """The configuration cannot be used; the text names the place, the key and the value."""


def _key(parse: Callable[[Any], Any], default: Any, meaning: str, environment: str = "") -> Any:
    """A field of Config that is a row of the table."""
    return dataclasses.field(
        default=default, metadata={"parse": parse, "meaning": meaning, "environment": environment}
    )


def _collector(value: object) -> Collector | None:
    """The section ``tracing``: one collector, and the share of requests it gets.  Raises ValueError."""
    if value is None:
        return None
    found = section(value, TRACING, "tracing.")
    kinds = [kind for kind in (OTLP, ZIPKIN, LOCAL) if found.get(kind)]
    if len(kinds) > 1:
        raise ValueError(f"sends spans to one place only: leave {' or '.join(kinds)} out")
    if not kinds and LOCAL not in found:
        raise ValueError("must name one collector, otlp or zipkin, or local: true")
    sampling = found.get("sampling", 100.0)
    if not kinds:
        return None
    if kinds == [LOCAL]:
        return Collector(LOCAL, sampling=sampling, kept=found[LOCAL])
    endpoint, path = found[kinds[0]]
    return Collector(kinds[0], endpoint, path or "/api/v2/spans", sampling)


def _sinks(value: object) -> Sinks:
    """The section ``metrics``: where Envoy sends its statistics, and how often.  Raises ValueError."""
    found = section(value, METRICS, "metrics.")
    if value is not None and not {"otlp", "statsd"} & set(found):
        raise ValueError("must name otlp, statsd or both")
    if "otlp" in found:
        found["otlp"], _ = found["otlp"]
    return Sinks(**found)


@dataclass(frozen=True)
class Config:
    """A whole configuration, checked."""

    socket: str = _key(
        values.absolute_path,
        DEFAULT_SOCKET,
        "where shims register; a shim reads only the variable, from dockerd's environment",
        SOCKET_VARIABLE,
    )
    api_address: Endpoint = _key(
        values.socket_or_address,
        Endpoint(path="/run/envoy-docker-shim/api.sock"),
        "where the registrar serves xDS and state: `unix:/path`, for root and Envoy's group, or `host:port`",
        "SHIM_API_ADDR",
    )
    docker_host: str = _key(
        values.docker_host,
        "unix:///var/run/docker.sock",
        "Docker's API; also `tcp://host:port`, without TLS",
        "DOCKER_HOST",
    )
    default_mode: Mode = _key(
        values.mode,
        DEFAULT_MODE,
        "one of the [modes](how-it-works.md#modes), for containers without `ProxyMode`",
    )
    trusted_hops: int = _key(
        values.number(0, 100, int), 0, "how many proxies in front are believed in `X-Forwarded-For`"
    )
    tracing: Collector | None = _key(
        _collector,
        None,
        "`otlp`, `zipkin` or [`local`](metrics-and-tracing.md#traces-without-a-collector), and `sampling` in"
        " percent; see [Tracing](metrics-and-tracing.md#tracing)",
    )
    metrics: Sinks = _key(
        _sinks,
        Sinks(),
        "`otlp`, `statsd` or both, and `interval` in seconds; see"
        " [Sending metrics](metrics-and-tracing.md#sending-metrics)",
    )
    access_log: str = _key(
        values.access_log,
        "off",
        "where the [access log](metrics-and-tracing.md#access-log) goes: `stdout` (Envoy's), or a file;"
        " `off`: only containers with `AccessLog=on` have one, on `stdout`",
    )
    page: bool = _key(
        values.on_or_off, True, "`off`: the API has no [page](page.md), and nothing else for browsers either"
    )
    traces_url: str | None = _key(
        values.optional(values.web_page),
        None,
        "where Jaeger or Tempo shows traces: a URL, with `{service}` in it where the service's name goes, and"
        " `{environment}`; [the page](page.md) leads there",
    )
    envoy_admin: Endpoint = _key(
        values.socket_or_address,
        Endpoint(path="/run/envoy/admin.sock"),
        "Envoy's admin, for `bootstrap`, and where the registrar asks why Envoy refused a port",
    )
    scrape_address: Endpoint | None = _key(
        values.optional(values.host_and_port),
        Endpoint("127.0.0.1", 9901),
        "where Envoy's statistics and the registrar's metrics are scraped if Envoy's admin is a Unix socket;"
        " `null`: nowhere",
    )
    firewall: bool = _key(
        values.boolean,
        True,
        "keep a firewall table that leads network clients to Envoy, past Docker's own rules",
    )
    fail_open: bool = _key(
        values.boolean,
        True,
        "while no Envoy is there, network clients go Docker's own way; `false`: they are refused",
    )
    client_address: str = _key(
        values.keep_or_off,
        "off",
        "`keep` or `off`, for containers without `ClientAddress`",
    )
    keep_ports: range = _key(
        values.port_range,
        PORTS,
        "ports of 127.0.0.1 and ::1 that Envoy listens on for that",
    )
    keep_mark: int = _key(
        values.number(1, (1 << 32) - 1, int),
        USUAL.mark,
        "the firewall mark of packets to these clients",
    )
    keep_table: int = _key(
        values.number(256, 32765, int),
        USUAL.route_table,
        "the routing table for that mark, and the priority of its rule",
    )
    envoy_user: str | int = _key(
        values.user,
        "auto",
        "whose Envoys count, a user's name or number; `auto`: see [Security](security.md#whose-envoys-count)",
    )
    max_header_kb: int = _key(
        values.number(8, 8192, int), MAX_HEADER_KB, "the largest head of a request or an answer, in kB"
    )
    envoy_heap_mb: int = _key(
        values.number(128, 1 << 20, int),
        HEAP_MB,
        "what Envoy may have of memory before it turns work away, in MB",
    )
    log_level: str = _key(
        values.choice("debug", "info", "warning", "error"), "info", "`debug`, `info`, `warning` or `error`"
    )

    @property
    def access_log_file(self) -> str:
        """The access log's file; empty: Envoy's standard output."""
        return self.access_log if self.access_log.startswith("/") else ""

    @property
    def keeping(self) -> Keeping:
        """The numbers by which connections that keep their client's address find back to Envoy."""
        return Keeping(self.keep_mark, self.keep_table, self.keep_table)


KEYS = {
    field.name: Key(
        field.name,
        field.default,
        field.metadata["meaning"],
        field.metadata["parse"],
        field.metadata["environment"],
    )
    for field in dataclasses.fields(Config)
}

# The keys of the section `tracing`.
TRACING: Mapping[str, Callable[[Any], Any]] = {
    "otlp": values.url(("grpc", "http"), OTLP_PORT),
    "zipkin": values.url(("http",), ZIPKIN_PORT),
    "local": values.local_spans,
    "sampling": values.number(0, 100),
}


# The keys of the section `metrics`.
METRICS: Mapping[str, Callable[[Any], Any]] = {
    "otlp": values.url(("grpc", "http"), OTLP_PORT),
    "statsd": values.ip_and_port,
    "interval": values.number(1, 3600),
}


def section(document: object, keys: Mapping[str, Callable[[Any], Any]], prefix: str = "") -> dict[str, Any]:
    """The values of a mapping, each checked by its key's function.  Raises ConfigError.

    ``prefix`` is what stands before its keys in messages, such as ``tracing.``.
    """
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the whole'}: must be a mapping, not {_shown(document)}")
    found = {}
    for key, value in document.items():
        if key not in keys:
            raise ConfigError(f"unknown key {prefix}{_key_shown(key)} (known: {', '.join(sorted(keys))})")
        found[key] = checked(keys[key], value, f"{prefix}{key}")
    return found


def checked(parse: Callable[[Any], Any], value: object, key: str) -> Any:
    """The value of this key.  Raises ConfigError."""
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(f"{key}: {_shown(value)} {error}") from None


def _key_shown(key: object) -> str:
    return key[:80] if isinstance(key, str) and key.isprintable() else _shown(key)


def _shown(value: object) -> str:
    """A value on one line, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "(a number too long to be shown)"
    return text[:120]
