"""The configuration: a YAML file, overridden by the environment, checked as a whole before use."""

import os
import pwd
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from shim.proxy.start import DEFAULT_SOCKET

DEFAULT_FILE = "/etc/envoy-docker-shim.yaml"
OTLP_PORT, ZIPKIN_PORT = 4317, 9411


class ConfigError(Exception):
    """The configuration cannot be used; the text names the place, the key and the value."""


class _Nested(ValueError):
    """A section inside is wrong; the text names the inner key and value already."""


class Endpoint(NamedTuple):
    """Where something listens: ``host`` and ``port``, or ``path`` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Collector(NamedTuple):
    """Where spans go.  ``sampling`` in percent; ``path`` is Zipkin's."""

    kind: str  # "otlp" or "zipkin"
    endpoint: Endpoint
    path: str
    sampling: float


class Config(NamedTuple):
    socket: str = DEFAULT_SOCKET
    api_address: Endpoint = Endpoint("127.0.0.1", 7776)
    docker_host: str = "unix:///var/run/docker.sock"
    default_mode: str = "http"
    trusted_hops: int = 0
    tracing: Collector | None = None
    envoy_admin: Endpoint = Endpoint("127.0.0.1", 9901)
    log_level: str = "info"
    envoy_user: int | None = None  # None: found out (shim.registrar.port_owner)


def load(file: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration from ``file`` (None: the default file, which may be absent) and ``environ``.

    Raises ConfigError.
    """
    path = Path(file or DEFAULT_FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if file is not None:
            raise ConfigError(f"{path}: no such file") from None
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        document = yaml.safe_load(text)
    except Exception as error:
        # Not only YAMLError: its constructors let out whatever they trip over (`!!int ''`: IndexError).
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    settings = _section(document, _KEYS, str(path), "")
    for variable, key in _VARIABLES.items():
        if environ.get(variable):
            settings[key] = _checked(_KEYS[key], environ[variable], "environment", variable)
    return Config(**settings)


def _section(
    document: object, keys: Mapping[str, Callable[[Any], Any]], where: str, prefix: str
) -> dict[str, Any]:
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(
            f"{where}: {prefix.rstrip('.') or 'the whole'}: must be a mapping, not {_shown(document)}"
        )
    found = {}
    for key, value in document.items():
        if key not in keys:
            raise ConfigError(f"{where}: unknown key {prefix}{_key(key)} (known: {', '.join(sorted(keys))})")
        found[key] = _checked(keys[key], value, where, prefix + key)
    return found


def _key(key: object) -> str:
    return key[:80] if isinstance(key, str) and key.isprintable() else _shown(key)


def _shown(value: object) -> str:
    """A value on one line, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "(a number too long to be shown)"
    return text[:120]


def _checked(parse: Callable[[Any], Any], value: object, where: str, key: str) -> Any:
    try:
        return parse(value)
    except _Nested as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {key}: {_shown(value)} {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _absolute(value: object) -> str:
    text = _text(value)
    # sun_path in sockaddr_un has 108 bytes, one of them for the end.
    if not text.startswith("/") or len(os.fsencode(text)) > 107 or "\0" in text:
        raise ValueError("must be an absolute path of at most 107 bytes")
    return text


def _user(value: object) -> int:
    """A user's name or number.  Not -1, which means "leave it" to chown."""
    text = "" if isinstance(value, bool) else str(value)
    if text.isascii() and text.isdecimal():
        if len(text) <= 10 and int(text) < 2**32 - 1:
            return int(text)
    elif isinstance(value, str) and value:
        try:
            return pwd.getpwnam(value).pw_uid
        except (KeyError, ValueError):  # ValueError: a NUL in it
            pass
    raise ValueError("must be the name or number of a user of this host")


def _choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return str(value)

    return parse


def _number(low: float, high: float, kind: type = float) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        numeric = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not numeric or not low <= value <= high:  # type: ignore[operator]
            raise ValueError(f"must be a {'whole ' if kind is int else ''}number from {low:g} to {high:g}")
        return kind(value)

    return parse


# Labels of at most 63 characters, as a resolver takes them; an IPv4 address is of the same form.
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,32}\.?")


def _is_ip6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def host_and_port(value: object) -> Endpoint:
    """``host:port`` or ``[v6]:port``.  Raises ValueError."""
    text = _text(value)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    good_host = _is_ip6(host) if bracketed else _HOST_NAME.fullmatch(host) is not None
    good_port = port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536
    if not (colon and good_host and good_port):
        raise ValueError("must be HOST:PORT with a port from 1 to 65535 (an IPv6 host in brackets)")
    return Endpoint(host, int(port))


def _api_address(value: object) -> Endpoint:
    text = _text(value)
    if text.startswith("unix:"):
        return Endpoint(path=_absolute(text.removeprefix("unix:")))
    return host_and_port(text)


def _docker_host(value: object) -> str:
    text = _text(value)
    scheme, _, rest = text.partition("://")
    if scheme == "unix":
        _absolute(rest)
    elif scheme in ("tcp", "http"):
        host_and_port(rest.rstrip("/"))
    else:
        raise ValueError("must be unix:///path or tcp://host:port")
    return text


def _url(schemes: tuple[str, ...], default_port: int) -> Callable[[object], tuple[Endpoint, str]]:
    def parse(value: object) -> tuple[Endpoint, str]:
        text = _text(value)
        try:
            url = urlsplit(text)
            port = url.port or default_port
        except ValueError as error:
            raise ValueError(f"is not a URL: {error}") from None
        name = url.hostname or ""
        good_host = _is_ip6(name) if ":" in name else _HOST_NAME.fullmatch(name) is not None
        clean = (
            good_host
            and not (url.query or url.fragment or url.username)
            and not any(c.isspace() for c in text)
        )
        if url.scheme not in schemes or not clean:
            raise ValueError(f"must be a URL like {schemes[0]}://host:{default_port}")
        return Endpoint(name, port), url.path

    return parse


_TRACING: dict[str, Callable[[Any], Any]] = {
    "otlp": _url(("grpc", "http"), OTLP_PORT),
    "zipkin": _url(("http",), ZIPKIN_PORT),
    "sampling": _number(0, 100),
}


def _tracing(value: object) -> Collector | None:
    if value is None:
        return None
    try:
        found = _section(value, _TRACING, "", "tracing.")
    except ConfigError as error:
        raise _Nested(str(error).removeprefix(": ")) from None
    kinds = [kind for kind in ("otlp", "zipkin") if kind in found]
    if len(kinds) != 1:
        raise ValueError("must name one collector, otlp or zipkin")
    endpoint, path = found[kinds[0]]
    return Collector(kinds[0], endpoint, path or "/api/v2/spans", found.get("sampling", 100.0))


_KEYS: dict[str, Callable[[Any], Any]] = {
    "socket": _absolute,
    "api_address": _api_address,
    "docker_host": _docker_host,
    "default_mode": _choice("http", "tcp"),
    "trusted_hops": _number(0, 100, int),
    "tracing": _tracing,
    "envoy_admin": host_and_port,
    "envoy_user": _user,
    "log_level": _choice("debug", "info", "warning", "error"),
}
_VARIABLES = {"SHIM_SOCKET": "socket", "SHIM_API_ADDR": "api_address", "DOCKER_HOST": "docker_host"}
