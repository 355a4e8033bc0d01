"""Whose published ports are: Envoy's user, as far as it is known; nobody else may listen beside a shim.

Who that is, is told to shims that start by a symbolic link beside the registration socket (shim.proxy.owner),
and to those that are parked by their pipe.  It stays there when a registrar ends.

Any local user can pose as an Envoy.  Believed are: the user that the configuration names, or else one of
the name `envoy` (only root can make it; one that systemd made for a service is there while that runs); root;
and where none of them has come since the host's boot, whoever asks first, until one of them does.
"""

import logging
import os
import pwd
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from shim.core.lease import Lease
from shim.proxy.owner import OWNER_SUFFIX
from shim.proxy.park import PORT_FD

log = logging.getLogger("envoy-docker-shim")

ROOT = 0
NAME = "envoy"
# Strangers are looked into no more often than this (seconds).
LOOK_PAUSE = 1.0
_UNKNOWN = "unknown"


class PortOwner:
    """``say`` writes to the shim of a lease, ``leases`` are all that there are."""

    def __init__(self, leases: Iterable[Lease], say: Callable[[int, bytes], None]) -> None:
        self._leases = leases
        self._say = say
        self._link: str | None = None
        self.user: int | None = None  # whose the ports are; None: not known yet
        self._trusted = {ROOT}
        self._configured = False
        self._first: int | None = None  # believed for want of a better one
        self._polling: dict[int, int] = {}  # connection -> user, in the order in which they came
        self._stranger_came = trio.Event()

    # -- what shims are told -----------------------------------------------------------------------

    def prepare(self, socket_path: str) -> None:
        """Before the socket is there, the link must be: a shim that finds none takes us for an older version.

        Raises OSError.
        """
        self._link = socket_path + OWNER_SUFFIX
        Path(socket_path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            os.symlink(_UNKNOWN, self._link)
        except FileExistsError:
            pass

    def begin(self, configured: int | None) -> None:
        """... with what the configuration says, or a predecessor found out."""
        if configured is not None:
            self._configured = True
            self._trusted.add(configured)
            self._become(configured)
        elif (found := self._read()) is not None:
            self._trusted.add(found)
            self._become(found)

    def admitted(self, lease: Lease) -> None:
        """A shim has come, perhaps with a port that is still somebody else's."""
        if self.user is not None and lease.binding.address.proto == "tcp":
            if self._read() != self.user:
                self.publish()
            if _owner(lease.pid) != self.user:
                self._say(lease.id, b"owner %d\n" % self.user)

    def publish(self) -> None:
        """Write the link, as after somebody has emptied /run."""
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

    # -- who it is ---------------------------------------------------------------------------------

    def polled(self, user: int, connection: int) -> None:
        """An Envoy asks, or somebody who poses as one."""
        if self._polling.get(connection) == user:
            return
        self._polling[connection] = user
        if user in self._trusted:
            self._consider(user)
        elif user >= 0:
            self._stranger_came.set()

    def closed(self, connection: int) -> None:
        self._polling.pop(connection, None)

    def _consider(self, user: int) -> None:
        """Somebody trusted asks: the ports are theirs, if those to whom they belong do not ask any more."""
        if user == self.user:
            return
        guessed = self.user == self._first and user != self._first
        if self.user is None or guessed or self.user not in self._polling.values():
            log.info("Envoy is user %d: published ports are shared with that user only", user)
            self._become(user)

    async def run(self) -> None:
        """Look into strangers that ask as an Envoy does."""
        while True:
            await self._stranger_came.wait()
            self._stranger_came = trio.Event()
            named = None if self._configured else await self._find_named()
            self._judge(named)
            await trio.sleep(LOOK_PAUSE)

    async def _find_named(self) -> int | None:
        # On a thread: a directory service may be asked.
        return await trio.to_thread.run_sync(_user_called, NAME)

    def _judge(self, named: int | None) -> None:
        strangers = [user for user in self._polling.values() if user not in self._trusted]
        if not strangers:
            return
        if named in strangers:
            self._trusted.add(named)
            self._consider(named)
        elif self.user is None and not self._configured:
            self._first = strangers[0]
            self._trusted.add(self._first)
            log.warning(
                "user %d, who asks first, is taken for Envoy: name Envoy's user as `envoy_user`", self._first
            )
            self._consider(self._first)
        else:
            log.warning(
                "user %d asks as an Envoy does, and is not: published ports are user %s's (`envoy_user`)",
                strangers[0],
                self.user,
            )


def _owner(pid: int) -> int | None:
    """Whose the port is that a shim holds, where that can be seen."""
    try:
        return os.stat(f"/proc/{pid}/fd/{PORT_FD}").st_uid
    except OSError:
        return None


def _user_called(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, OSError):
        return None
