"""Texts from outside (labels, requests), made safe to show, to log and to name things after."""

from functools import lru_cache

# Characters.  Each name is in every listener, span and metric of its container.
NAME_LIMIT = 96

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def printable(text: str, limit: int = NAME_LIMIT) -> str:
    """``text`` as one line of printable characters, cut to ``limit``.

    Of short texts that come again and again, such as environments and images, there is one object.
    """
    return _kept(text, limit) if len(text) <= NAME_LIMIT else _printable(text, limit)


def _printable(text: str, limit: int) -> str:
    return "".join(c if c.isprintable() else " " for c in text[: 4 * limit]).strip()[:limit].strip()


_kept = lru_cache(maxsize=1024)(_printable)


def stat_name(text: str) -> str:
    """``text`` with only [A-Za-z0-9_-]: a dot would break the labels of Envoy's Prometheus page."""
    return "".join(c if c in _ALLOWED else "_" for c in printable(text))
