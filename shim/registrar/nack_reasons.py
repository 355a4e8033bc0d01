"""Asks an Envoy's admin interface why it refused listeners: REST discovery itself does not say."""

import ipaddress
import json
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import trio

from shim.config.values import host_and_port
from shim.core.discovery.sessions import Session
from shim.registrar.state import State

log = logging.getLogger("envoy-docker-shim")

DUMP_PATH = "/config_dump?resource=dynamic_listeners"
TIMEOUT = 2.0
# A thousand listeners' dump is some megabytes; what is much more is not one.
SIZE_LIMIT = 64 << 20
FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)


async def inspect_nacks(
    sessions: "trio.MemoryReceiveChannel[Session]", state: State, default_admin: str
) -> None:
    """For each Envoy that comes through ``sessions``: put its reasons into ``session.rejected``."""
    timeout = httpx.Timeout(TIMEOUT)
    # No TLS: see docker.client_for.
    async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=False) as client:
        async for session in sessions:
            admin = session.admin or default_admin
            try:
                listeners = state.registry.listeners
                rejected = {
                    name: reason
                    for name, reason in rejections(await _ask(client, admin)).items()
                    if name in listeners
                }
            except (*FAILURES, trio.TooSlowError) as error:
                log.warning(
                    "Envoy %s refuses something; its admin at %s cannot say what: %s",
                    session.node,
                    admin,
                    error,
                )
                continue
            for name, reason in rejected.items():
                if session.rejected.get(name) != reason:
                    log.warning("Envoy %s refuses the listener %s: %s", session.node, name, reason)
            session.rejected = rejected
            state.touch()


async def _ask(client: httpx.AsyncClient, admin: str) -> Any:
    request = client.build_request("GET", url_of(admin), headers={"Accept-Encoding": "identity"})
    body = b""
    with trio.fail_after(TIMEOUT * 2):
        response = await client.send(request, stream=True)
        try:
            # As it comes: what is packed may be anything unpacked.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > SIZE_LIMIT:
                    raise ValueError("its answer is too large")
        finally:
            await response.aclose()
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None


def url_of(admin: str) -> str:
    """The question's URL.  Raises ValueError."""
    endpoint = host_and_port(admin)
    # The address came in with an unauthenticated request: it leads nowhere but to this host.
    if ipaddress.ip_address(endpoint.host).is_loopback:
        return f"http://{endpoint}{DUMP_PATH}"
    raise ValueError("an admin address is a loopback address and a port")


def rejections(dump: Any) -> dict[str, str]:
    """Listener name -> Envoy's reason, from a config dump of the dynamic listeners.

    Raises ValueError where it is no such dump.
    """
    if not isinstance(dump, Mapping):
        raise ValueError("not a config dump")
    configs = dump.get("configs") or []
    if not isinstance(configs, list):
        raise ValueError("not a config dump")
    found = {}
    for listener in configs:
        error = listener.get("error_state") if isinstance(listener, Mapping) else None
        if not isinstance(error, Mapping):
            continue
        # A second copy of each failure has no name of its own.
        failed = error.get("failed_configuration")
        name = listener.get("name") or (failed.get("name") if isinstance(failed, Mapping) else None)
        if name:
            found[str(name)] = _short(str(error.get("details") or "no reason given"))
    return found


def _short(details: str) -> str:
    """Envoy may quote the whole listener in front of its reason, which then stands last."""
    return details if len(details) <= 300 else "... " + details[-300:]
