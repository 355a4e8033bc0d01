"""The owner of the published ports: Envoy's user, once known; no other user may listen beside a shim.

A shim that starts reads the user's id from a symbolic link beside the registration socket
(shim.proxy.owner); a parked shim is told on its control pipe.  The link stays when a registrar ends.

Which users' Envoys count is decided in trust.py.  If there are several, the owner is the user whose Envoy
polled first, for as long as it polls: a port can have one owner.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from shim.core.leases.lease import Lease
from shim.wire.words import OWNER, OWNER_SUFFIX, PORT_FD

log = logging.getLogger("envoy-docker-shim")

_UNKNOWN = "unknown"


class PortOwner:
    """``say`` sends a word to the shim of a lease; ``leases`` are all of the registrar's."""

    def __init__(self, leases: Iterable[Lease], say: Callable[[int, str], None]) -> None:
        self._leases = leases
        self._say = say
        self._link: str | None = None
        self.user: int | None = None  # the owner; None: not known yet

    def prepare(self, socket_path: str) -> None:
        """Make the link, before the socket: a shim that finds none takes this registrar for an older version.

        Raises OSError.
        """
        self._link = socket_path + OWNER_SUFFIX
        Path(socket_path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            os.symlink(_UNKNOWN, self._link)
        except FileExistsError:
            pass

    def begin(self, configured: int | None) -> None:
        """Start with the user that the configuration names (None: it names none), or that the link names."""
        user = self._read() if configured is None else configured
        if user is not None:
            self._become(user)

    def admitted(self, lease: Lease) -> None:
        """Tell a new shim the owner, unless its port is that user's already."""
        if self.user is not None and lease.binding.address.proto == "tcp":
            if self._read() != self.user:
                self.publish()
            if _owner(lease.pid) != self.user:
                self._say(lease.id, f"{OWNER} {self.user}")

    def consider(self, user: int, polling: Collection[int]) -> None:
        """Take in that an Envoy of ``user`` counts; ``polling`` are the users of all Envoys that count."""
        if user != self.user and self.user not in polling:
            log.info("Envoy is user %d: published ports are shared with that user only", user)
            self._become(user)
        elif user != self.user:
            log.warning(
                "an Envoy of user %d cannot listen on published ports, which are user %s's", user, self.user
            )

    def publish(self) -> None:
        """Write the link: for a new owner, or after /run was emptied."""
        if self._link is None:
            return
        partial = f"{self._link}.{os.getpid()}"
        try:
            Path(self._link).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            os.symlink(_UNKNOWN if self.user is None else str(self.user), partial)
            os.replace(partial, self._link)
        except OSError as error:
            log.error("cannot tell shims who Envoy is: %s", error)

    def _read(self) -> int | None:
        try:
            return int(os.readlink(self._link or ""))
        except (OSError, ValueError):
            return None

    def _become(self, user: int) -> None:
        self.user = user
        self.publish()
        for lease in self._leases:
            self.admitted(lease)


def _owner(pid: int) -> int | None:
    """The owner of the port that a shim holds; None: it cannot be seen."""
    try:
        return os.stat(f"/proc/{pid}/fd/{PORT_FD}").st_uid
    except OSError:
        return None
