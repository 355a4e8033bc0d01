"""Finds out whose containers speak before their clients do, for the ports that mode auto looks at.

Envoy counts them (shim.core.envoy.sniffing).  It is asked soon after somebody has connected to this host, so
that a second client need not wait; at rest nobody is asked anything.  What is learnt is kept in a file beside
the registration socket: after a restart of the registrar every listener is what it was.
"""

import logging
import os
from pathlib import Path

import trio

from shim.core.discovery.sessions import Session
from shim.core.envoy.sniffing import ANSWERED_PAGE, SPOKE_FIRST_PAGE, answered_http, spoke_first
from shim.core.leases.server_first import LIMIT, ServerFirst, suspects
from shim.core.text import NAME_LIMIT, printable
from shim.host.arrivals import accepted
from shim.registrar.http_client import read_page
from shim.registrar.nack_reasons import admin_of
from shim.registrar.state import State

log = logging.getLogger("envoy-docker-shim")

FILE_SUFFIX = ".speak-first"  # of the file beside the registration socket
# Seconds between two looks at the kernel's count of connections.
LOOK = 0.5
# For so long after a connection Envoy is asked: the wait, the greeting and the client's answer take time.
AFTER = 3.0
# Asking costs Envoy's main thread time that grows with its ports: the pause is so many times what it took.
SHARE = 50
# Seconds for an Envoy's answer, and how long it may be (bytes): a base, and two names for each port.
TIMEOUT = 4.0
SIZE_BASE, SIZE_EACH, SIZE_LIMIT = 1 << 16, 1 << 9, 4 << 20


async def watch(state: State, default_admin: str, file: Path) -> None:
    """Ask the Envoys that count, for as long as there are ports to ask about.  Does not return."""
    # Somebody may have connected while no registrar was there.
    seen, until = accepted(), trio.current_time() + AFTER
    saved = state.labelling.server_first.changes
    while True:
        if not any(lease.is_looked_at for lease in state.registry):
            await state.changed.wait()
            continue
        await trio.sleep(LOOK)
        # The question itself may be a connection, where Envoy's admin is no Unix socket.
        count = accepted()
        if count != seen or count < 0:
            until = trio.current_time() + AFTER
        began = trio.current_time()
        if began < until:
            await _ask_all(state, default_admin)
            count = accepted()
            saved = _save(file, state.labelling.server_first, saved)
            await trio.sleep(min(SHARE * (trio.current_time() - began), 60.0))
        seen = count


async def _ask_all(state: State, default_admin: str) -> None:
    """Ask all; who has said a first word has to answer the second question too, for it may have seen HTTP."""
    limit = min(SIZE_BASE + SIZE_EACH * len(state.registry), SIZE_LIMIT)
    spoke: set[str] = set()
    answered: set[str] = set()
    sessions = []
    for session in list(state.sessions.trusted()):
        if (lines := await _page(session, default_admin, SPOKE_FIRST_PAGE, limit)) is not None:
            sessions.append(session)
            spoke.update(spoke_first(lines))
    if not suspects(state.registry, spoke):
        return
    for session in sessions:
        if (lines := await _page(session, default_admin, ANSWERED_PAGE, limit)) is None:
            return
        answered.update(answered_http(lines))
    state.take_in_who_speaks_first(spoke, answered)


async def _page(session: Session, default_admin: str, page: str, limit: int) -> list[str] | None:
    """The page's lines; None: there is no answer, for now."""
    try:
        with trio.fail_after(TIMEOUT):
            body = await read_page(admin_of(session, default_admin), page, limit)
    except (OSError, ValueError, trio.TooSlowError) as error:
        reason = printable(str(error), 200) or type(error).__name__
        log.debug("Envoy %s does not say who speaks first: %s", session.node, reason)
        return None
    return body.decode("ascii", "replace").splitlines()


# -- the file ------------------------------------------------------------------------------------------


def remember(file: Path, memory: ServerFirst) -> None:
    """Take in what an earlier registrar has learnt; without its file there is nothing."""
    try:
        with file.open("rb") as lines:
            memory.read(lines.read(LIMIT * (4 * NAME_LIMIT + 8)).decode("utf-8", "replace"))
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s cannot be read, and what was learnt is learnt again: %s", file, error.strerror)


def _save(file: Path, memory: ServerFirst, saved: int) -> int:
    """Write the file unless it is as new as the memory; returns the ``changes`` that it has now."""
    if memory.changes == saved:
        return saved
    fresh = file.with_name(f"{file.name}.new")
    try:
        fresh.write_text("".join(memory.lines()), "utf-8")
        os.replace(fresh, file)
    except OSError as error:
        log.warning("%s cannot be written: after a restart it is learnt again: %s", file, error.strerror)
    return memory.changes
