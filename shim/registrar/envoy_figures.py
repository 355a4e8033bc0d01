"""Asks Envoys for the figures of services, as long as somebody looks.

Asked is only an Envoy that counts, and only where its own user listens (see nack_reasons.py).
"""

import logging
from urllib.parse import quote

import trio

from shim.core.discovery.sessions import Session
from shim.core.text import printable
from shim.core.traffic.growth import Envoy
from shim.core.traffic.statistics import FILTER, QUERY, Statistics
from shim.registrar.http_client import read_page
from shim.registrar.nack_reasons import admin_of
from shim.registrar.services import relayed_points
from shim.registrar.state import State
from shim.registrar.traffic import EVERY, FIRST

log = logging.getLogger("envoy-docker-shim")

PAGE = f"/stats?{QUERY}&filter={quote(FILTER, safe='')}"
# Asking costs Envoy's main thread time that grows with its ports: the pause is so many times what it took.
# But it is no more than this (seconds), for it may have been the machine that was slow.
SHARE, SELDOM = 10, 10.0
# So often in a row it is no look if no Envoy answers: the next one will tell what came meanwhile.
MISSED = 3
# Seconds for an Envoy's answer, and how long it may be (bytes): a base, and so much for each cluster.
TIMEOUT = 4.0
SIZE_BASE, SIZE_EACH, SIZE_LIMIT = 1 << 16, 1 << 13, 32 << 20


async def watch(state: State, default_admin: str) -> None:
    """Keep ``state.traffic`` as new as somebody wants it.  Does not return."""
    traffic, missed = state.traffic, 0
    while True:
        await traffic.wait_until_wanted()
        began = trio.current_time()
        answers: dict[Envoy, Statistics] = {}
        sessions = list(state.sessions.trusted())
        for session in sessions:
            if (found := await _ask(session, state, default_admin)) is not None:
                answers[session.user, session.node] = found
        if sessions and not answers and missed < MISSED:
            missed += 1
            await trio.sleep(traffic.every)
            continue
        missed = 0
        took = trio.current_time() - began
        present = {(session.user, session.node) for session in sessions}
        moment = state.now() - took / 2
        for _ in traffic.taking(moment, answers, present, lambda: relayed_points(state)):
            await trio.lowlevel.checkpoint()
        traffic.every = min(max(EVERY, SHARE * took), SELDOM)
        await trio.sleep(max(0.0, (FIRST if traffic.looks == 1 else traffic.every) - took))


async def _ask(session: Session, state: State, default_admin: str) -> Statistics | None:
    """What this Envoy says; None: there is no answer, for now."""
    clusters = state.registry.clusters
    found = Statistics()
    try:
        with trio.fail_after(TIMEOUT):
            limit = min(SIZE_BASE + SIZE_EACH * len(clusters), SIZE_LIMIT)
            answer = await read_page(admin_of(session, default_admin), PAGE, limit)
    except (OSError, ValueError, trio.TooSlowError) as error:
        reason = printable(str(error), 200) or type(error).__name__
        log.debug("Envoy %s does not say what passes it: %s", session.node, reason)
        return None
    for _ in found.reading(bytes(answer), clusters):
        await trio.lowlevel.checkpoint()
    return found
