"""What an installation has made of this host, so that `uninstall` takes away exactly that."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from shim.core.setup.daemon_json import Change

FORMAT = 1


class BadRecord(Exception):
    """The text is no record that this version reads."""


@dataclass
class Settings:
    """dockerd's settings file: what was changed, and the digests that say whether it is still as we left it.

    ``before`` is the digest of the file before us (its copy is kept beside it), empty where there was none.
    ``waits`` names the dockerd that ran when they were changed and has not been restarted for them.
    ``borrowing`` is on the disk while live-restore is in the file for a restart only: whoever finds it so was
    interrupted there, and the file is neither as we leave it nor as others want it.
    """

    path: str
    before: str
    after: str
    changes: list[Change] = field(default_factory=list)
    waits: str = ""
    borrowing: bool = False


@dataclass
class Record:
    """One host's installation."""

    version: str
    files: list[str] = field(default_factory=list)  # in the order in which they were made
    directories: list[str] = field(default_factory=list)
    user: bool = False
    envoy: str = ""  # where the unit finds it
    envoy_given: bool = False  # by --envoy
    strict: bool = False
    forward: dict[str, str] = field(default_factory=dict)  # FORWARD's policies before, by family
    settings: Settings | None = None

    def as_json(self) -> bytes:
        """For the file that keeps it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def read(content: bytes) -> Record:
    """The record that `as_json` wrote.  Raises BadRecord."""
    try:
        found: dict[str, Any] = json.loads(content)
        if found.pop("format") != FORMAT:
            raise BadRecord("it is of another version's format")
        settings = found.pop("settings")
        if settings is not None:
            settings = Settings(**{**settings, "changes": [Change(*row) for row in settings["changes"]]})
        return Record(**found, settings=settings)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadRecord(f"it is not readable: {error}") from None
