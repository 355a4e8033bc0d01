"""Changes one member of a JSON object in its text: every other byte stays as somebody wrote it."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BOM = "\ufeff"
SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder(strict=False)
INDENT = "  "  # where the text shows none


class BrokenJson(Exception):
    """The text is no JSON object; the message names line and column, and shows the line."""


class Member(NamedTuple):
    """One member of the outermost object: its key, and where it and its value are in the text."""

    key: str
    value: Any
    start: int  # of the key
    value_start: int
    end: int  # behind the value


def parse(text: str) -> dict[str, Any]:
    """The object; an empty text is an empty one, as for dockerd.  Raises BrokenJson."""
    body = text.removeprefix(BOM)
    if not body.strip(" \t\r\n"):
        return {}
    try:
        found = json.loads(body)
    except json.JSONDecodeError as error:
        raise BrokenJson(_told(body, error)) from None
    except RecursionError:
        raise BrokenJson("line 1: it is nested too deeply") from None
    if not isinstance(found, dict):
        raise BrokenJson(f"line 1: it must be an object, {{...}}, not {_line(body, 1)}")
    return found


def with_member(text: str, key: str, value: Any) -> str:
    """The text with this member: its value replaced, or added behind the last one.  Raises BrokenJson."""
    parse(text)
    shown = json.dumps(value)
    found = [member for member in members(text) if member.key == key]
    if found:
        # Of several the last one counts, so all are made the same.
        for member in reversed(found):
            text = text[: member.value_start] + shown + text[member.end :]
        return text
    added = f"{json.dumps(key)}: {shown}"
    every = list(members(text))
    if every:
        end = every[-1].end
        return f"{text[:end]},{_before(text, every[-1].start) or ' '}{added}{text[end:]}"
    opening = text.find("{")
    if opening < 0:
        start = BOM if text.startswith(BOM) else ""
        return f"{start}{{\n{INDENT}{added}\n}}\n"
    closing = text.rindex("}")
    return f"{text[: opening + 1]}\n{INDENT}{added}\n{text[closing:]}"


def without_member(text: str, key: str) -> str:
    """The text without this member, and one comma less.  Raises BrokenJson."""
    parse(text)
    while True:
        every = list(members(text))
        place = next((i for i, member in enumerate(every) if member.key == key), None)
        if place is None:
            return text
        if place + 1 < len(every):
            # Up to the next one's key, whose own white space then is that of this.
            text = text[: every[place].start] + text[every[place + 1].start :]
        elif place:
            text = text[: every[place - 1].end] + text[every[place].end :]
        else:
            text = text[: text.index("{") + 1] + text[text.rindex("}") :]


def members(text: str) -> Iterator[Member]:
    """Those of the outermost object of a text that `parse` takes."""
    at = text.find("{") + 1
    if not at:
        return
    while True:
        start = _skip(text, at)
        if text[start] == "}":
            return
        key, end = DECODER.raw_decode(text, start)
        value_start = _skip(text, _skip(text, end) + 1)
        value, end = DECODER.raw_decode(text, value_start)
        yield Member(key, value, start, value_start, end)
        at = _skip(text, end)
        if text[at] == "}":
            return
        at += 1


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    assert found is not None
    return found.end()


def _before(text: str, start: int) -> str:
    """The white space before a key."""
    return text[len(text[:start].rstrip(" \t\r\n")) : start]


def _told(body: str, error: json.JSONDecodeError) -> str:
    # "Expecting property name enclosed in double quotes", at the character behind a comma too many.
    return f"line {error.lineno}, column {error.colno}: {error.msg}: {_line(body, error.lineno)}"


def _line(body: str, number: int) -> str:
    lines = body.split("\n")
    return repr(lines[min(number, len(lines)) - 1].strip()[:80])
