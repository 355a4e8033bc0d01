"""dockerd's settings file with ours in it, and without them again."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from shim.core.setup.json_text import parse, with_member, without_member

PROXY_PATH, PROXY, LIVE_RESTORE = "userland-proxy-path", "userland-proxy", "live-restore"
STRICT = ("iptables", "ip6tables")
ABSENT = "\0absent"  # no value of dockerd's has a NUL


class Change(NamedTuple):
    """One setting: what it was, or ABSENT, and what it is to be."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        was = "" if self.before == ABSENT else f" (it was {_shown(self.before)})"
        return f'"{self.key}": {_shown(self.after)}{was}'


def wanted(file: str, *, strict: bool) -> dict[str, Any]:
    """The settings that make dockerd start `file` for each published port."""
    return {PROXY_PATH: file, **(dict.fromkeys(STRICT, False) if strict else {})}


def changes(text: str, settings: Mapping[str, Any]) -> list[Change]:
    """What is to change for these settings to hold.  Raises BrokenJson."""
    found = parse(text)
    wanted_too = dict(settings)
    if PROXY in found and found[PROXY] is not True:
        wanted_too[PROXY] = True  # without it dockerd starts no proxy at all
    return [
        Change(key, found.get(key, ABSENT), value)
        for key, value in wanted_too.items()
        if not same(found.get(key, ABSENT), value)
    ]


def merge(text: str, made: list[Change]) -> str:
    """The text with the changes.  Raises BrokenJson."""
    for change in made:
        text = put(text, change.key, change.after)
    return text


def unmerge(text: str, made: list[Change]) -> tuple[str, list[str]]:
    """The text with the changes taken back, and the keys that somebody has changed since, which stay.

    Raises BrokenJson.
    """
    found, others = parse(text), []
    for change in reversed(made):
        if same(found.get(change.key, ABSENT), change.after):
            text = put(text, change.key, change.before)
        else:
            others.append(change.key)
    return text, others


def put(text: str, key: str, value: Any) -> str:
    """The text with this value for the key, or without the key where it is ABSENT.  Raises BrokenJson."""
    return without_member(text, key) if value == ABSENT else with_member(text, key, value)


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same to dockerd: 1 is not true."""
    return type(one) is type(other) and bool(one == other)


def _shown(value: Any) -> str:
    return json.dumps(value)
