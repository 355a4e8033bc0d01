"""Whose Envoys count: a port waits for them, and is released when they have let go of it.

Any user of the host may ask for the configuration, and claim to be an Envoy.  What that process says of its
listeners counts only if the kernel says that its user is

* root, or the registrar's own user, which can do anything with ports anyway;
* the user that `envoy_user` names, by name or number;
* where it names none (`auto`): the user `envoy`, if the host has one; and any system user that listens on
  `envoy_admin`, the address of Envoy's admin.  That is an Envoy of a package, one of a systemd
  unit's `DynamicUser=`, or one in a container on the host's network (user 101 in Envoy's own image, by
  whatever name the host knows that number).  People's own accounts are no system users, and neither are
  `nobody` and subordinate ids: an Envoy that one of those runs is told what there is, gets no port, and is
  shown by `status` with the line that the configuration needs.

A name may become known only while the registrar runs (a `DynamicUser=` exists while its unit does), and a
directory server may take long to look it up.  So a thread does that, and ``trusts`` never waits for it.
"""

import logging
import math
import os
import pwd
import struct
import time
from collections.abc import Callable

import trio

from shim.core.endpoint import Endpoint
from shim.host.peer_credentials import UNKNOWN, owner_of_listener

log = logging.getLogger("envoy-docker-shim")

ACCESS_LIST = "system.posix_acl_access"
AUTO = "auto"
AUTO_NAME = "envoy"
# Ids of users that root made: those of packages' and images' services, and systemd's dynamic ones.
SYSTEM_USERS = range(1, 1000)
DYNAMIC_USERS = range(61184, 65520)
# A name is not looked up more often than this (seconds).
LOOKUP_PAUSE = 1.0
# Nor is it asked more often who holds Envoy's admin (seconds): a Unix socket's costs Envoy a connection.
ADMIN_PAUSE = 1.0


async def share_with_envoy(path: str, setting: str | int) -> None:
    """Let Envoy connect to the API's socket; ``setting`` is the key `envoy_user`.

    That is for its group.  A number may be a container's user, whose group this host does not know: user 101
    of Envoy's own image is in group 101, and this host's user 101 in any.  So that user itself may connect.
    """
    let_in = False
    if isinstance(setting, int):
        try:
            os.setxattr(path, ACCESS_LIST, access_list_for(setting))
            let_in = True
        except OSError as error:
            log.debug("%s: no access list: %s", path, error.strerror)  # not on every file system
    group = await trio.to_thread.run_sync(_group_of, setting, abandon_on_cancel=True)
    if group is None:
        return
    try:
        os.chown(path, -1, group)
    except OSError as error:
        level = logging.DEBUG if let_in else logging.WARNING
        log.log(level, "%s cannot be given to Envoy's group %d: %s", path, group, error.strerror)


def access_list_for(user: int) -> bytes:
    """The extended attribute that gives a file of mode 0660 to one user more: read and write.

    As linux/posix_acl_xattr.h has it, in little endian: the version, and for each entry its tag, its
    permissions and its id.
    """
    both, none, nobody = 6, 0, 0xFFFFFFFF
    owner, this_user, group, mask, others = 1, 2, 4, 0x10, 0x20
    entries = ((owner, both, nobody), (this_user, both, user), (group, both, nobody), (mask, both, nobody))
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry) for entry in (*entries, (others, none, nobody))
    )


def _group_of(setting: str | int) -> int | None:
    try:
        if isinstance(setting, int):
            return pwd.getpwuid(setting).pw_gid
        return pwd.getpwnam(AUTO_NAME if setting == AUTO else setting).pw_gid
    except (KeyError, OSError, ValueError):
        # A number without a name, such as one of a container's: its group has the same.
        return setting if isinstance(setting, int) else None


class EnvoyUsers:
    """``trusts(user)`` answers at once, from what ``run`` has found out so far."""

    def __init__(
        self,
        setting: str | int,
        admin: Endpoint,
        own: int | None = None,
        find: Callable[[str], int] = lambda name: pwd.getpwnam(name).pw_uid,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admin = admin if setting == AUTO else None
        self._name = "" if isinstance(setting, int) else AUTO_NAME if setting == AUTO else setting
        self._always = {0, os.geteuid() if own is None else own}
        self._named = setting if isinstance(setting, int) else UNKNOWN
        self._find = find
        self._now = clock
        self._holder, self._looked_at = UNKNOWN, -math.inf  # of the admin
        self._wanted = trio.Event()

    def trusts(self, user: int) -> bool:
        """Whether an Envoy that this user runs counts."""
        if user == UNKNOWN:
            return False
        if user in self._always or user == self._named:
            return True
        system = user in SYSTEM_USERS or user in DYNAMIC_USERS
        if system and self._admin is not None and self._holder_of(self._admin) == user:
            return True
        # By now the name may be known, or may be another id's.
        self._wanted.set()
        return False

    def _holder_of(self, admin: Endpoint) -> int:
        """Who listens there, as of ADMIN_PAUSE ago at most.  That nobody does is never remembered."""
        if self._holder == UNKNOWN or self._now() - self._looked_at > ADMIN_PAUSE:
            self._holder, self._looked_at = owner_of_listener(admin), self._now()
        return self._holder

    async def run(self) -> None:
        """Look the name up, and again after a user was not trusted.  Returns only if there is no name."""
        while self._name:
            found = await trio.to_thread.run_sync(self._look_up, abandon_on_cancel=True)
            if found != self._named:
                log.info("Envoy's user %s: %s", self._name, "unknown" if found == UNKNOWN else found)
            self._named = found
            await trio.sleep(LOOKUP_PAUSE)
            await self._wanted.wait()
            self._wanted = trio.Event()

    def _look_up(self) -> int:
        try:
            return self._find(self._name)
        except (KeyError, OSError, ValueError):
            return UNKNOWN
