"""Asks an Envoy's admin interface why it refused listeners: REST discovery itself does not say.

Asked is only an Envoy that counts (see trust.py), and only where its own user listens: at the address that it
names, or at that of the configuration.  The answer is checked and bounded like that of any other program.
"""

import ipaddress
import json
import logging
from collections.abc import Mapping
from typing import Any

import trio

from shim.config.values import socket_or_address
from shim.core.discovery.sessions import Session
from shim.core.endpoint import Endpoint
from shim.core.text import printable
from shim.host.peer_credentials import owner_of_listener
from shim.registrar.http_client import read_page
from shim.registrar.state import State

log = logging.getLogger("envoy-docker-shim")

DUMP_PATH = "/config_dump?resource=dynamic_listeners"
# Names and reasons are all that is wanted: a thousand listeners are 0.1 MB then, and some megabytes without.
MASK = "&mask=name,error_state.details"
# Seconds for all questions to one Envoy.
TIMEOUT = 4.0
# How long an answer may be (bytes): a base, a part for each listener, and at most.
SIZE_BASE, SIZE_EACH, SIZE_LIMIT = 1 << 20, 1 << 14, 16 << 20
REASON_LIMIT = 300  # characters


async def inspect_nacks(
    sessions: "trio.MemoryReceiveChannel[Session]", state: State, default_admin: str
) -> None:
    """For each Envoy that comes through ``sessions``: put its reasons into ``session.rejected``."""
    async for session in sessions:
        listeners = state.registry.listeners
        try:
            with trio.fail_after(TIMEOUT):
                admin = admin_of(session, default_admin)
                found = await _reasons(admin, SIZE_BASE + SIZE_EACH * len(listeners))
        except (OSError, ValueError, trio.TooSlowError) as error:
            log.warning(
                "Envoy %s refuses something; its admin at %s cannot say what: %s",
                session.node,
                session.admin or default_admin,
                printable(str(error), REASON_LIMIT) or type(error).__name__,
            )
            continue
        rejected = {name: reason for name, reason in found.items() if name in listeners}
        for name, reason in rejected.items():
            if session.rejected.get(name) != reason:
                log.warning("Envoy %s refuses the listener %s: %s", session.node, name, reason)
        session.rejected = rejected
        state.touch()


def admin_of(session: Session, default_admin: str) -> Endpoint:
    """The admin address on which this Envoy's own user listens.  Raises ValueError: there is none."""
    for text in (session.admin, default_admin):
        try:
            admin = local_admin(text)
        except ValueError:
            continue
        if owner_of_listener(admin) == session.user:
            return admin
    raise ValueError(f"user {session.user} has none there, nor at {default_admin}")


async def _reasons(admin: Endpoint, limit: int) -> dict[str, str]:
    found = await _ask(admin, DUMP_PATH + MASK, limit)
    if rejections(found) or not _refuses(found):
        return rejections(found)
    # A listener that was refused at once is named only in the part that the mask leaves out.
    return rejections(await _ask(admin, DUMP_PATH, limit))


async def _ask(admin: Endpoint, question: str, limit: int) -> Any:
    body = await read_page(admin, question, min(limit, SIZE_LIMIT))
    try:
        return json.loads(body, object_hook=_kept)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None


def _kept(found: dict[str, Any]) -> dict[str, Any] | None:
    """The wanted keys of an object: in memory all of it would be many times its text."""
    wanted = {key: value for key, value in found.items() if key in _WANTED}
    return wanted or (None if found else {})


_WANTED = frozenset(("configs", "name", "error_state", "failed_configuration", "details"))


def local_admin(text: str) -> Endpoint:
    """The admin address that an Envoy names: it came with any request, so it must be on this host.

    Raises ValueError: it is not.
    """
    admin = socket_or_address(text)
    if admin.path or ipaddress.ip_address(admin.host).is_loopback:
        return admin
    raise ValueError("an admin address is a Unix socket, or a loopback address and a port")


def rejections(dump: Any) -> dict[str, str]:
    """Listener name -> Envoy's reason, from a config dump of the dynamic listeners.

    Raises ValueError: not such a dump.
    """
    found = {}
    for listener in _listeners(dump):
        error = listener.get("error_state") if isinstance(listener, Mapping) else None
        if not isinstance(error, Mapping):
            continue
        # A second copy of each failure has no name of its own.
        failed = error.get("failed_configuration")
        name = listener.get("name") or (failed.get("name") if isinstance(failed, Mapping) else None)
        if name:
            found[str(name)] = _short(str(error.get("details") or "no reason given"))
    return found


def _listeners(dump: Any) -> list[Any]:
    configs = (dump.get("configs") or []) if isinstance(dump, Mapping) else None
    if not isinstance(configs, list):
        raise ValueError("not a config dump")
    return configs


def _refuses(dump: Any) -> bool:
    return any(isinstance(listener, Mapping) and listener.get("error_state") for listener in _listeners(dump))


def _short(details: str) -> str:
    """Envoy may quote the whole listener in front of its reason, which then stands last."""
    end = printable(details[-REASON_LIMIT:], REASON_LIMIT)
    return end if len(details) <= REASON_LIMIT else "... " + end
