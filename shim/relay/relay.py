"""The UDP relay: one connected socket a client, all of them behind one trio wait.

    clients <--> host socket <--> [client table] <--> one socket a client <--> container

Every socket is in one epoll set, and one trio task waits for that set, so a client costs no task.
Each round looks at what is ready and takes at most a batch from each socket, in the order epoll gives, which
takes turns; after ROUNDS of them other tasks get theirs.  A second task sleeps until the next flow ends.
"""

import errno
import select
import socket
from collections.abc import Sequence

import trio

from shim.core.binding import Backend
from shim.relay.envelope import Envelope, Layout
from shim.relay.flows import IDLE, Counters, FlowTable
from shim.relay.mmsg import SLOTS, Inbox, Outbox, Payload
from shim.relay.ports import Ports
from shim.relay.sockets import NO_PORT, NO_ROOM, PASSING, ClientFlow, can_segment, connected, prepare

LIMIT = 10_000  # clients
ROUNDS = 32  # between two checkpoints
# Where there was a datagram there is mostly another soon.  Looking for it a few times (some 40 us in
# all) and then waiting for it in epoll for a moment, in seconds, costs less than what going to sleep
# and back costs, in trio or in the kernel: measured with one datagram in flight, half the time and
# less CPU.  Go's scheduler spins for the same reason.
LOOKS = 100
LINGER = 0.001

# A newcomer costs ten times what a datagram of a flow costs.  Where so many batches in a row were full,
# more come than can be served: a few are, the others are dropped, and the known do not wait for them.
BEHIND = 32
NEWCOMERS = 4  # of a batch, then
CROWD = 16  # this many clients with replies at once have mostly one each
# The kernel looks at every port before it says that all are taken, a millisecond: not for each newcomer.
NO_PORT_PAUSE = 0.1  # seconds


class Relay:
    """The relay without trio: ``round`` moves what is ready, and waits LINGER for it at most."""

    def __init__(self, sock: socket.socket, backend: Backend, table: FlowTable[ClientFlow]) -> None:
        """Take over the bound ``sock``, which stays the caller's to close.  Raises OSError."""
        self.table = table
        self.epoll = select.epoll()
        self.failure: OSError | None = None
        self.began = trio.Event()  # set when a flow begins in an empty table
        self._host = sock.fileno()
        self._family = socket.AF_INET6 if ":" in backend.ip else socket.AF_INET
        self._backend = backend
        self._flows: dict[int, ClientFlow] = {}  # by file descriptor
        self._layout = Layout(sock.family)
        self._payload = Payload()
        segment = can_segment(sock)
        self._from_clients = Inbox(self._payload, self._layout)
        self._from_backend = Inbox(self._payload)
        self._to_clients = Outbox(self._payload, segment)
        self._to_backend = Outbox(self._payload, segment)
        self._request = Envelope()
        self._held = 0  # slots with replies that are not sent yet
        self._ports = Ports(table.limit)
        self._no_port_until = 0.0
        self._full = 0  # batches of requests in a row
        prepare(sock, self._layout)
        self.epoll.register(self._host, select.EPOLLIN)

    def close(self) -> None:
        """Close everything but the host socket."""
        for flow in self.table.clear():
            self._end(flow)
        self._ports.close()
        self.epoll.close()

    def round(self, now: float) -> bool:
        """Move a batch of whatever is ready; whether anything was.

        Raises OSError: the host socket is unusable.
        """
        events = self._ready()
        if len(events) >= CROWD:
            self._crowd(events, now)
            return True
        for fd, event in events:
            if fd == self._host:
                self._send_replies()  # they are in the memory that requests will be received into
                self._requests(now, event)
            else:
                # It may have been ended by an event before it in this round.
                flow = self._flows.get(fd)
                if flow:
                    self._replies(flow, now)
        self._send_replies()
        return bool(events)

    def _ready(self) -> list[tuple[int, int]]:
        poll = self.epoll.poll
        for _ in range(LOOKS):
            events = poll(0, SLOTS)
            if events:
                return events
        return poll(LINGER, SLOTS)

    def expire(self, now: float) -> None:
        """End the flows whose time is up."""
        for flow in self.table.expire(now):
            self._end(flow)
        if not self.table:
            self._payload.release()

    def _requests(self, now: float, event: int) -> None:
        count = self._from_clients.receive(self._host)
        if count < 0:
            if -count not in PASSING or event & select.EPOLLHUP:
                raise OSError(-count, errno.errorcode[-count])
            return
        lengths = self._from_clients.lengths(count)
        self.table.counters.asked(lengths)
        self._full = self._full + 1 if count == SLOTS else 0
        newcomers = NEWCOMERS if self._full > BEHIND else SLOTS
        find, places = self.table.get, self._payload.slots
        for key, slots in self._from_clients.groups(count):
            flow = find(key)
            if flow is None and newcomers:
                newcomers -= 1
                flow = self._begin(key, now)
            if flow is None:
                self.table.counters.refused += len(slots)
                continue
            if flow.noted != now:
                self.table.asked(flow, now)
            slot = slots[0]
            if len(slots) == 1:
                try:
                    flow.send(places[slot][: lengths[slot]])
                    continue
                except OSError:
                    pass  # the Outbox retries, and counts what is lost
            self._forward(flow, slots, lengths if len(slots) == count else [lengths[slot] for slot in slots])

    def _forward(self, flow: ClientFlow, slots: Sequence[int], lengths: list[int]) -> None:
        box = self._to_backend
        box.add(self._request, slots, lengths)
        box.flush(flow.fd)
        if box.lost:
            self.table.counters.dropped_requests += box.lost
            box.lost = 0

    def _crowd(self, events: list[tuple[int, int]], now: float) -> None:
        """Move what is ready where many clients have one datagram each: as few calls for each as can be."""
        flows, places, answered = self._flows, self._payload.slots, self.table.answered
        envelopes: list[Envelope] = []
        lengths: list[int] = []
        for fd, event in events:
            flow = flows.get(fd)
            if flow is not None:
                try:
                    lengths.append(flow.receive(places[len(lengths)]))
                except OSError:
                    continue
                envelopes.append(flow.envelope)
                if flow.noted != now:
                    answered(flow, now)
            elif fd == self._host:
                self._send_each(envelopes, lengths)
                envelopes, lengths = [], []
                self._requests(now, event)
        self._send_each(envelopes, lengths)

    def _send_each(self, envelopes: list[Envelope], lengths: list[int]) -> None:
        if lengths:
            self.table.counters.answered(lengths)
            self._to_clients.add_each(envelopes, lengths)
            self._held = len(lengths)
            self._send_replies()

    def _replies(self, flow: ClientFlow, now: float) -> None:
        if self._held == SLOTS:
            self._send_replies()
        at = self._held
        count = self._from_backend.receive(flow.fd, at)
        if count <= 0:  # an ICMP error is no end: the container may be starting
            self.table.counters.errors += count not in (0, -errno.EAGAIN)
            return
        lengths = self._from_backend.lengths(count, at)
        self.table.counters.answered(lengths)
        self.table.answered(flow, now)
        self._held = end = at + len(lengths)
        self._to_clients.add(flow.envelope, range(at, end), lengths)

    def _send_replies(self) -> None:
        if not self._held:
            return
        self._held = 0
        self._to_clients.flush(self._host)
        if self._to_clients.lost:
            self.table.counters.dropped_replies += self._to_clients.lost
            self._to_clients.lost = 0

    def _begin(self, key: bytes, now: float) -> ClientFlow | None:
        """The flow of a client not in the table as ``key``; None: there cannot be one."""
        key = self._layout.canonical(key)
        known = self.table.get(key)
        if known:
            return known
        self.table.limit = self._ports.limit(len(self.table))
        for evicted in self.table.make_room():
            self._end(evicted)
        sock = self._socket(now)
        if sock is None:
            return None
        flow = ClientFlow(key, sock, self._layout.envelope(key))
        self.table.add(flow, now)
        self._flows[flow.fd] = flow
        self.epoll.register(flow.fd, select.EPOLLIN)
        self.began.set()
        return flow

    def _socket(self, now: float) -> socket.socket | None:
        """A connected socket, if need be in another flow's stead; None: there cannot be one."""
        if now < self._no_port_until:
            return None
        try:
            return connected(self._family, self._backend)
        except OSError as error:
            oldest = self.table.evict() if error.errno in NO_ROOM else None
        if oldest is None:
            return None
        self._end(oldest)
        try:
            return connected(self._family, self._backend)
        except OSError as error:
            if error.errno == NO_PORT:
                self._no_port_until = now + NO_PORT_PAUSE
        return None

    def _end(self, flow: ClientFlow) -> None:
        del self._flows[flow.fd]
        flow.sock.close()  # which takes it out of the epoll set


async def relay(
    sock: socket.socket,
    backend: Backend,
    *,
    idle: float = IDLE,
    limit: int = LIMIT,
    quiet: float | None = None,
    counters: Counters | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Relay between the clients of a bound UDP socket and a container, until cancelled.

    ``idle``: seconds after an answered flow's last datagram until it ends.  ``limit``: flows at a time.
    ``quiet``: return after this many seconds without any flow; None: never.
    ``counters``: the caller's, to see what happens.  ``task_status``: started when relaying.
    Raises OSError: the host socket cannot be used (any more).
    """
    engine = Relay(sock, backend, FlowTable(limit, idle, counters))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, engine, nursery.cancel_scope)
            task_status.started()
            await _reap(engine, quiet)
            nursery.cancel_scope.cancel()
    finally:
        engine.close()
    if engine.failure:
        raise engine.failure


async def _pump(engine: Relay, scope: trio.CancelScope) -> None:
    """Move datagrams for ever, or until the host socket fails: then cancel ``scope``."""
    while True:
        await trio.lowlevel.wait_readable(engine.epoll.fileno())
        now, rounds = trio.current_time(), 1
        try:
            while engine.round(now) and rounds < ROUNDS:
                rounds += 1
        except OSError as error:  # raised out of the nursery, it would come as a group
            engine.failure = error
            scope.cancel()
            return


async def _reap(engine: Relay, quiet: float | None) -> None:
    """End flows in time; return when there has been none for ``quiet`` seconds."""
    while True:
        deadline = engine.table.deadline()
        if deadline is not None:
            await trio.sleep_until(min(deadline, trio.current_time() + engine.table.patience))
            engine.expire(trio.current_time())
            continue
        engine.began = trio.Event()
        with trio.move_on_after(float("inf") if quiet is None else quiet):
            await engine.began.wait()
        if not engine.table:
            return
