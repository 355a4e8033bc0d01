"""dockerd's settings as they are to be, worked out from the file and from what was done to it before."""

import contextlib
import hashlib
from typing import NamedTuple

from shim.core.setup import daemon_json, places
from shim.core.setup.daemon_json import ABSENT, LIVE_RESTORE, PROXY_PATH, STRICT, Change
from shim.core.setup.facts import DockerFacts
from shim.core.setup.json_text import BrokenJson, parse
from shim.core.setup.record import Settings
from shim.core.setup.steps import SwitchDocker


class Refused(Exception):
    """It does not begin; the text is a line that says why, and what to do."""


class Merged(NamedTuple):
    """The file without ours (None: there was none), with ours, and the difference."""

    before: bytes | None
    after: bytes
    changes: list[Change]


def digest(content: bytes | None) -> str:
    """What two equal files have in common; empty for none."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def merged(docker: DockerFacts, strict: bool, known: Settings | None) -> Merged:
    """Ours put into the file as it is.  ``known`` is what an earlier installation did.  Raises Refused."""
    text = _text(docker)
    settings = daemon_json.wanted(places.FILE, strict=strict)
    try:
        before = _before(docker, text, known)
        made = daemon_json.changes(_decoded(before), settings)
        after = daemon_json.merge(_decoded(before), made)
        held = not daemon_json.changes(text, settings)
    except BrokenJson as error:
        raise Refused(f"{docker.settings_path} is not valid: {error}") from None
    for key in {change.key for change in made} & docker.flags.keys() & set(STRICT):
        raise Refused(f"dockerd's command line has --{key}: take it out, {docker.settings_path} is for it")
    # Where somebody has moved ours about in the file, they stay where they are.
    borrowing = known is not None and known.borrowing
    if held and not borrowing and (known is None or [c.key for c in made] == [c.key for c in known.changes]):
        after = text
    return Merged(before, after.encode(), made)


def restored(docker: DockerFacts, known: Settings) -> tuple[bytes | None, list[str]]:
    """The file without ours, and the settings that others have changed since, which stay.  Raises Refused."""
    text = _text(docker)
    try:
        if as_left(docker, known):
            return _before(docker, text, known), []
        back, others = daemon_json.unmerge(text, _made(docker, text, known))
    except BrokenJson as error:
        raise Refused(f"{docker.settings_path} is not valid: {error}") from None
    return back.encode() if docker.settings else None, others


def switched(
    docker: DockerFacts, after: bytes | None, what: str, known: Settings | None, *, restart: bool
) -> SwitchDocker:
    """The step to this content of the file."""
    restart = restart and bool(docker.process)
    # A setting must not be on the command line as well; and a Swarm's dockerd does not start with this one.
    on = docker.live_restore and not (known is not None and known.borrowing)
    borrow = restart and not on and not docker.swarm and LIVE_RESTORE not in docker.flags
    return SwitchDocker(
        docker.settings_path,
        after,
        what,
        restart=restart,
        borrow=borrow,
        validate=docker.validates,
        stops=docker.containers if restart and not borrow and not on else (),
    )


def as_left(docker: DockerFacts, known: Settings) -> bool:
    """Whether nobody has changed the file since we did.

    Who was interrupted while live-restore was borrowed left it in the file as it was, or was to be.
    """
    content = docker.settings.content if docker.settings else None
    if digest(content) == known.after:
        return True
    if not known.borrowing:
        return False
    forms = [content]
    with contextlib.suppress(BrokenJson, UnicodeDecodeError):
        forms += [daemon_json.put(_decoded(content), LIVE_RESTORE, was).encode() for was in (ABSENT, False)]
    return any(digest(form) in (known.after, known.before) for form in forms)


def _made(docker: DockerFacts, text: str, known: Settings) -> list[Change]:
    """What we have changed in the file, and live-restore where it is borrowed still.  Raises BrokenJson."""
    if not known.borrowing or not daemon_json.same(parse(text).get(LIVE_RESTORE, ABSENT), True):
        return known.changes
    kept = _decoded(docker.kept) if digest(docker.kept) == known.before else ""
    return [*known.changes, Change(LIVE_RESTORE, parse(kept).get(LIVE_RESTORE, ABSENT), True)]


def _before(docker: DockerFacts, text: str, known: Settings | None) -> bytes | None:
    """The file without ours: byte for byte, if nobody changed it since.  Raises BrokenJson."""
    if docker.settings is None:
        return None
    if known is None:
        # Ours may be there all the same: from an installation by hand.
        return daemon_json.unmerge(text, [Change(PROXY_PATH, ABSENT, places.FILE)])[0].encode()
    if as_left(docker, known):
        if not known.before:
            return None
        if digest(docker.kept) == known.before:
            return docker.kept
    return daemon_json.unmerge(text, _made(docker, text, known))[0].encode()


def _decoded(content: bytes | None) -> str:
    return (content or b"").decode()


def _text(docker: DockerFacts) -> str:
    try:
        return _decoded(docker.settings.content if docker.settings else None)
    except UnicodeDecodeError as error:
        raise Refused(f"{docker.settings_path} is not valid: byte {error.start} is no UTF-8") from None
