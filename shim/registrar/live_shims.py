"""The table of live shims: how one is admitted and recognised, what it says, and what it is told.

A shim is recognised by the inode of its lease pipe: its process id may later be another process's, or be one
of another pid namespace.
"""

import itertools
import logging
import math
import os
from collections.abc import Callable

from shim.core.binding import Binding
from shim.core.leases.lease import Lease
from shim.core.leases.registry import Registry
from shim.host.procfs import PROBES, Probes
from shim.registrar.control_pipes import ControlPipes
from shim.registrar.docker_health import DockerHealth
from shim.registrar.events import PendingFlag
from shim.registrar.labelling import Labelling
from shim.registrar.orphans import Orphans
from shim.registrar.port_owner import PortOwner
from shim.registrar.releases import Releases
from shim.registrar.return_wait import ReturnWait
from shim.registrar.starts import Starts
from shim.registrar.udp_traffic import UdpTraffic
from shim.registrar.wakeups import WakeUps
from shim.wire.words import NUDGE

log = logging.getLogger("envoy-docker-shim")


class LiveShims:
    """``changed`` is called when the rest of the registrar has work after a change here.

    ``missed`` is set when a shim was found that should have registered.
    """

    def __init__(
        self,
        registry: Registry,
        labelling: Labelling,
        docker: DockerHealth,
        clock: Callable[[], float],
        changed: Callable[[], None],
        probes: Probes = PROBES,
    ) -> None:
        self.missed = PendingFlag()
        self.admitted = self.found = 0  # shims since the start: all of them, and those that did not register
        self.udp_traffic = UdpTraffic(clock)
        self.return_wait = ReturnWait()
        self._registry = registry
        self._labelling = labelling
        self._now = clock
        self._changed = changed
        self._probes = probes
        self.control_pipes = ControlPipes(
            self._released,
            self._signalled,
            self._ended,
            self._parked,
            self._changed,
            self.udp_traffic.told,
        )
        self.wakeups = WakeUps(self.control_pipes.say)
        self.port_owner = PortOwner(registry, self.control_pipes.say)
        self.starts = Starts(self.admit, lambda: self.port_owner.user, self.missed.set)
        self.releases = Releases(registry, self.control_pipes, clock)
        self.orphans = Orphans(registry, docker, self.dismiss, clock, probes.parent_of)
        self._ids = itertools.count(1)
        self._leases: dict[int, int] = {}  # inode of a lease pipe -> lease
        self._pipes: dict[int, int] = {}  # lease -> inode of its pipe

    def admit(self, pid: int, binding: Binding, lease_fd: int, wake_fd: int) -> int | None:
        """Admit a shim, with the registrar's ends of its control pipes.

        Returns the lease's id, or None if the shim is known already.
        The descriptors are taken over either way.
        """
        pipe = os.fstat(lease_fd).st_ino
        if pipe in self._leases:
            os.close(lease_fd)
            os.close(wake_fd)
            return None
        try:
            parent, started = self._probes.origin_of(pid)
            order = float(started)
        except (OSError, ValueError, IndexError):
            # In another pid namespace, or ended already, which its lease pipe will tell.
            parent, order = 0, math.inf
        lease_id = next(self._ids)
        self.admitted += 1
        self._leases[pipe] = lease_id
        self._pipes[lease_id] = pipe
        lease = Lease(lease_id, pid, binding, order, self._now())
        self.orphans.add(lease, parent)
        new = self._registry.add(lease)
        self.control_pipes.add(lease_id, lease_fd, wake_fd)
        self.port_owner.admitted(lease)
        self.wakeups.begun(lease_id)
        log.debug("lease %d: %s (process %d)", lease_id, binding, pid)
        if inherited := self.orphans.inherited_service(binding, self._now()):
            self._labelling.label([(lease, *inherited)])
            self._changed()
        elif new:
            # For a later port of the same container nothing is due any sooner.
            self._changed()
            self._labelling.wanted.set()
        return lease_id

    def recover(self) -> tuple[int, int, bool]:
        """Admit the shims that /proc shows: (new ones, failures, whether permission was missing for any)."""
        admitted = failed = 0
        forbidden = False
        for shim in self._probes.find_shims():
            if shim.waiting:
                new = self.starts.answer(shim)
                admitted, self.found = admitted + new, self.found + new
                continue
            try:
                lease_id = self.admit(shim.pid, shim.binding, *self._probes.open_control_pipes(shim))
            except OSError as error:
                failed += 1
                forbidden = forbidden or isinstance(error, PermissionError)
                log.warning("cannot take up %s (process %d): %s", shim.binding, shim.pid, error)
                continue
            if lease_id is not None:
                admitted += 1
                self.found += 1
                self.taken_up(lease_id)
        self.return_wait.renew()
        return admitted, failed, forbidden

    def taken_up(self, lease_id: int) -> None:
        """Make a shim that registered with an earlier registrar, or with none, say what it waits for."""
        # Its RELEASE may have been read by that one, or could not be written.
        self.control_pipes.say(lease_id, NUDGE)
        self._parked(lease_id)  # perhaps while no registrar was there

    def dismiss(self, lease: Lease) -> None:
        """Have a shim end that has not asked for it: withdraw its listener, then send EXIT."""
        self._registry.release_alone(lease, self._now())
        self.releases.begin(lease, self._now())

    # -- what shims say ----------------------------------------------------------------------------

    def _released(self, lease_id: int) -> None:
        lease = self._registry.get(lease_id)
        if lease is None:
            return
        self._registry.release(lease, self._now())
        # From when its container's first port was released: a hundred ports are not a hundred waits.
        self.releases.begin(lease, lease.stage_at)

    def _parked(self, lease_id: int) -> None:
        self.udp_traffic.parked(lease_id)
        lease = self._registry.get(lease_id)
        if lease is not None and lease.binding.address.proto == "udp":
            self.wakeups.begun(lease_id, lease.binding.address)

    def _signalled(self, lease_id: int) -> None:
        lease = self._registry.get(lease_id)
        if lease is not None:
            self.orphans.signalled(lease)
            self.wakeups.begun(lease_id)

    def _ended(self, lease_id: int) -> None:
        lease = self._registry.get(lease_id)
        if lease is None:
            return
        log.debug("lease %d ended: %s", lease_id, lease.binding)
        del self._leases[self._pipes.pop(lease_id)]
        self.orphans.ended(lease_id)
        self.udp_traffic.ended(lease_id)
        self.releases.ended(lease_id)
        self.return_wait.renew()
        self._registry.end(lease, self._now())
