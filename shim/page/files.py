"""The page's files, read once somebody looks, and what is said about each answer to a browser."""

import functools
from importlib.resources import files
from typing import NamedTuple

# By the end of a file's name: what it is, as browsers want to be told with `nosniff`.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"
# Below this path of the API they all are, but for the index.
BELOW = "/page/"

# The page has nothing inline, asks nobody but its own origin, and is in no other page's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)


class File(NamedTuple):
    """One of them, whole."""

    body: bytes
    content_type: str


def file_at(path: str) -> File | None:
    """What the API has at this path of its own; None: nothing of the page.

    Raises OSError where the program's files are not there any more.
    """
    if path == "/":
        return _all()[INDEX]
    return _all().get(path.removeprefix(BELOW)) if path.startswith(BELOW) else None


@functools.lru_cache(maxsize=1)
def _all() -> dict[str, File]:
    """By their names: nothing that a client asks for is ever looked up in a file system."""
    found = {}
    for entry in files(__package__).iterdir():
        content_type = TYPES.get(entry.name[entry.name.rfind(".") :])
        if content_type is not None:
            found[entry.name] = File(entry.read_bytes(), content_type)
    return found
