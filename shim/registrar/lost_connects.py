"""Ends what Envoy began with containers that had gone while no registrar was there.

Envoy keeps such a container's port, and what it sends to the address is lost, or comes to nobody.  The kernel
sends it again after 1, 3 and 7 s: by then the address may be another container's, whose answer it would be.
So once Envoy is off these ports, its connections that nobody has answered yet are ended.
"""

import logging

import trio

from shim.core.firewall.table import Keeping
from shim.host.bridges import interface_to
from shim.host.pending_connects import abort_connects
from shim.registrar.state import PREDECESSOR_TIMEOUT, State

log = logging.getLogger("envoy-docker-shim")

# What Envoy accepted in its last moment on a port it connects after that (seconds).
MOMENT = 0.1


async def end_lost_connects(state: State, keeping: Keeping) -> None:
    """End those to containers' networks, once Envoy knows what there is.

    A connection to a container that is there is answered at once, and is not among them.
    """
    with trio.move_on_after(PREDECESSOR_TIMEOUT):
        while not state.knows_what_envoys_have():
            await state.changed.wait()
    await trio.sleep(MOMENT)
    try:
        ended = abort_connects(lambda ip: keeping.knows(interface_to(ip)))
    except OSError as error:
        log.warning("connections to containers that have gone may reach the next ones: %s", error)
    else:
        log.info("ended %d connections that waited for containers", ended)
