"""What the values of configuration keys may be: each function takes YAML's value, and returns the parsed one.

All raise ValueError, with a text that goes on from "KEY: VALUE ".
"""

import os
import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from shim.core.endpoint import Endpoint
from shim.core.envoy.modes import MODES, Mode

# Spans that are kept without a number, and the least and most that can be: 10,000 may take 40 MB.
LOCAL_SPANS, LOCAL_SPANS_RANGE = 2000, (100, 10_000)


def some_text(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def absolute_path(value: object) -> str:
    """A path that a Unix socket can have."""
    text = some_text(value)
    # sun_path in sockaddr_un has 108 bytes, one of them for the end.
    if not text.startswith("/") or len(os.fsencode(text)) > 107 or "\0" in text:
        raise ValueError("must be an absolute path of at most 107 bytes")
    return text


def choice(*choices: str) -> Callable[[object], str]:
    """One of these words."""

    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return str(value)

    return parse


def user(value: object) -> str | int:
    """A user's number, or a name, which need not exist on the host yet."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < (1 << 32) - 1:
        return value
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?", value):
        return value
    raise ValueError("must be a user's name or number")


def optional(parse: Callable[[object], Any]) -> Callable[[object], Any]:
    """What ``parse`` takes, or null."""
    return lambda value: None if value is None else parse(value)


def boolean(value: object) -> bool:
    """YAML's own truth values."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def number(low: float, high: float, kind: type = float) -> Callable[[object], Any]:
    """A number of this kind, ``low`` and ``high`` included."""

    def parse(value: object) -> Any:
        numeric = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not numeric or not low <= value <= high:  # type: ignore[operator]
            raise ValueError(f"must be a {'whole ' if kind is int else ''}number from {low:g} to {high:g}")
        return kind(value)

    return parse


def local_spans(value: object) -> int:
    """How many spans are kept: a number, or ``true``: LOCAL_SPANS, or ``false``: 0, none."""
    if isinstance(value, bool):
        return LOCAL_SPANS if value else 0
    low, high = LOCAL_SPANS_RANGE
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"must be true, false or a whole number of spans from {low} to {high}")
    return value


def keep_or_off(value: object) -> str:
    """Either word; YAML takes the second for its own "false"."""
    return choice("keep", "off")("off" if value is False else value)


def access_log(value: object) -> str:
    """``stdout``, ``off`` (which YAML takes for its own "false") or the absolute path of a file."""
    if value is False or value in ("stdout", "off"):
        return str(value or "off")
    if isinstance(value, str) and value.isprintable() and len(os.fsencode(value)) < 1024:
        file = value.startswith("/") and not value.endswith("/")
        if file:
            return value
    raise ValueError("must be stdout, off or the absolute path of a file")


def on_or_off(value: object) -> bool:
    """Either word, as YAML has taken it or as a text."""
    if value in ("on", "off"):
        return value == "on"
    if not isinstance(value, bool):
        raise ValueError("must be on or off")
    return value


def port_range(value: object) -> range:
    """``FIRST-LAST``, both included."""
    first, dash, last = some_text(value).partition("-")
    good = all(port.isascii() and port.isdecimal() and len(port) < 6 for port in (first, last))
    if not (dash and good and 0 < int(first) <= int(last) < 65536):
        raise ValueError("must be FIRST-LAST, ports from 1 to 65535")
    return range(int(first), int(last) + 1)


# Labels of at most 63 characters, as a resolver takes them; an IPv4 address is of the same form.
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,32}\.?")


def _is_ip6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def host_and_port(value: object) -> Endpoint:
    """``host:port`` or ``[v6]:port``."""
    text = some_text(value)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    good_host = _is_ip6(host) if bracketed else _HOST_NAME.fullmatch(host) is not None
    good_port = port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536
    if not (colon and good_host and good_port):
        raise ValueError("must be HOST:PORT with a port from 1 to 65535 (an IPv6 host in brackets)")
    return Endpoint(host, int(port))


def ip_and_port(value: object) -> Endpoint:
    """``host:port`` whose host is an IP address: Envoy asks no resolver for it."""
    found = host_and_port(value)
    try:
        ip_address(found.host)
    except ValueError:
        raise ValueError("must be IP:PORT, an address and no name (an IPv6 address in brackets)") from None
    return found


def socket_or_address(value: object) -> Endpoint:
    """``unix:/path``, ``host:port`` or ``[v6]:port``."""
    text = some_text(value)
    if text.startswith("unix:"):
        return Endpoint(path=absolute_path(text.removeprefix("unix:")))
    return host_and_port(text)


def docker_host(value: object) -> str:
    """``unix:///path`` or ``tcp://host:port``, as in DOCKER_HOST."""
    text = some_text(value)
    scheme, _, rest = text.partition("://")
    if scheme == "unix":
        absolute_path(rest)
    elif scheme in ("tcp", "http"):
        host_and_port(rest.rstrip("/"))
    else:
        raise ValueError("must be unix:///path or tcp://host:port")
    return text


def url(schemes: tuple[str, ...], default_port: int) -> Callable[[object], tuple[Endpoint, str]]:
    """A URL with one of these schemes: where it leads, and its path."""

    def parse(value: object) -> tuple[Endpoint, str]:
        text = some_text(value)
        try:
            parts = urlsplit(text)
            port = parts.port or default_port
        except ValueError as error:
            raise ValueError(f"is not a URL: {error}") from None
        name = parts.hostname or ""
        good_host = _is_ip6(name) if ":" in name else _HOST_NAME.fullmatch(name) is not None
        clean = (
            good_host
            and not (parts.query or parts.fragment or parts.username)
            and not any(c.isspace() for c in text)
        )
        if parts.scheme not in schemes or not clean:
            raise ValueError(f"must be a URL like {schemes[0]}://host:{default_port}")
        return Endpoint(name, port), parts.path

    return parse


def mode(value: object) -> Mode:
    """One of the modes, by its name."""
    return MODES[choice(*MODES)(value)]


def web_page(value: object) -> str:
    """``http://host/...`` or ``https://host/...``, as a browser is led there."""
    text = some_text(value)
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        good = good and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good or len(text) > 2000 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be http://HOST/... or https://HOST/...")
    return text
