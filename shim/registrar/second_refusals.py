"""What becomes of second listeners that an Envoy refuses: another port, or none while it is there."""

from shim.core.binding import second_name
from shim.core.discovery.sessions import Session
from shim.core.leases.registry import Registry

# In Envoy's reason where another program has the port.
IN_USE = "Address already in use"
# Where it may not have a socket with the addresses of others: IP_TRANSPARENT.
NOT_ALLOWED, CAPABILITY = "socket options", "CAP_NET_RAW"


class SecondRefusals:
    """A member of the registrar's deadlines.  An Envoy that may not have them would refuse them for ever."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._refusing: dict[Session, str] = {}

    def due(self) -> float:
        """Never by itself: an Envoy's refusal and its end are changes."""
        return float("inf")

    def advance(self, now: float) -> None:
        """Take in what Envoys refuse, and whether one that did has gone."""
        envoys = self._registry.sessions.trusted()
        for envoy in envoys:
            self._take_in(envoy)
        self._refusing = {envoy: why for envoy, why in self._refusing.items() if envoy in envoys}
        why = next(iter(self._refusing.values()), "")
        if why != self._registry.second.refused:
            self._registry.second.refused = why
            self._registry.list_second_listeners()

    def _take_in(self, envoy: Session) -> None:
        if not envoy.rejected:
            return
        for address in list(self._registry.second.listed):
            why = envoy.rejected.pop(second_name(address), "")
            if IN_USE in why:
                self._registry.second.avoid(address)
                self._registry.list_second_listeners()
            elif why:
                lacks = f"Envoy {envoy.node} has no {CAPABILITY}"
                self._refusing[envoy] = lacks if NOT_ALLOWED in why else f"Envoy {envoy.node} refuses: {why}"
