"""The Envoys that are connected, what each has processed, and how long each one's polls may be held."""

import math
from collections.abc import Hashable, Iterator

from shim.core.discovery.subscription import HOLD, Subscription


class HoldLimits:
    """How long each Envoy's polls may be held.

    An Envoy whose `request_timeout` is short (1 s by default) gives up before HOLD and closes its connection.
    It would count as gone, and miss changes meanwhile, so its next polls are held for half as long as it was
    seen to wait.
    """

    FLOOR = 0.25  # seconds
    MEMORY = 600.0  # seconds; a single early end may have been a restart

    def __init__(self) -> None:
        self._limits: dict[Hashable, tuple[float, float]] = {}  # an Envoy -> (seconds, until)

    def of(self, envoy: Hashable, now: float) -> float:
        """How long a poll of this Envoy may be held (seconds)."""
        limit, until = self._limits.get(envoy, (HOLD, now))
        if now >= until:
            self._limits.pop(envoy, None)
            return HOLD
        return limit

    def gave_up(self, envoy: Hashable, after: float, now: float) -> None:
        """An Envoy ended a poll itself, having waited ``after`` seconds."""
        limit = max(self.FLOOR, after / 2)
        if limit < self.of(envoy, now):
            if len(self._limits) > 1000:
                self._limits.clear()  # node ids are whatever a client says
            self._limits[envoy] = (limit, now + self.MEMORY)


class Session:
    """One Envoy, from its first poll until its last connection closes.

    ``user`` is whose process it is, and ``trusted`` whether anything may depend on what it says: any user can
    claim to be an Envoy, and is answered, but no port waits for that user's.
    """

    def __init__(self, node: str, admin: str, since: float, user: int = 0, trusted: bool = True) -> None:
        self.node = node
        self.admin = admin
        self.since = since
        self.user = user
        self.trusted = trusted
        self.build = ""  # its version, as "1.40.0"; empty where it does not say
        self.connections: set[int] = set()
        self.clusters = Subscription()
        self.listeners = Subscription()
        # Listener name -> why Envoy refused it, as its admin interface tells.
        self.rejected: dict[str, str] = {}

    def listens(self, name: str, sequence: int) -> bool:
        """Whether this Envoy has processed the change that put this listener in, and not refused it."""
        return self.listeners.processed_sequence >= sequence and name not in self.rejected


class Sessions:
    """The Envoys that are connected, by user and node id: no user's poll counts for another user's Envoy."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[int, str], Session] = {}
        self._by_connection: dict[int, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def __len__(self) -> int:
        return len(self._sessions)

    def trusted(self) -> list[Session]:
        """The sessions on whose word something may depend."""
        return [session for session in self._sessions.values() if session.trusted]

    def poll(
        self,
        node: str,
        admin: str,
        connection: int,
        now: float,
        user: int = 0,
        trusted: bool = True,
        build: str = "",
    ) -> Session:
        """The session that a poll on this connection belongs to.

        An Envoy that restarts opens new connections after its old ones are closed, so that nothing the
        process before it was sent counts for it.
        """
        session = self._sessions.get((user, node))
        if session is None:
            session = self._sessions[user, node] = Session(node, admin, now, user)
        session.trusted = trusted
        previous = self._by_connection.get(connection)
        if previous is not None and previous is not session:
            self.closed(connection)
        session.admin, session.build = admin, build
        session.connections.add(connection)
        self._by_connection[connection] = session
        return session

    def closed(self, connection: int) -> bool:
        """A connection ended; returns whether a trusted Envoy is gone with it."""
        session = self._by_connection.pop(connection, None)
        if session is None:
            return False
        session.connections.discard(connection)
        if session.connections:
            return False
        del self._sessions[session.user, session.node]
        return session.trusted

    def processed(self) -> tuple[float, float]:
        """(clusters, listeners): the sequences that every trusted Envoy has processed; infinity: no Envoy."""
        sessions = self.trusted()
        return (
            min((session.clusters.processed_sequence for session in sessions), default=math.inf),
            min((session.listeners.processed_sequence for session in sessions), default=math.inf),
        )
