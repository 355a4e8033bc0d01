"""Mode auto: which ports are served as bytes because their containers speak before their clients do.

Such a client would wait for the look at its first bytes in vain, with every connection.  A port is known by
its number, or was seen: then every container of that image has the same port served so.
"""

from collections.abc import Collection, Iterable, Iterator

from shim.core.envoy.modes import AUTO, BY_PORT, BY_SEEN, TCP, Serving
from shim.core.envoy.templates import origin_of
from shim.core.leases.lease import Lease
from shim.core.service import Service
from shim.core.text import printable

# IANA's services (service names and port numbers registry) without TLS in which the server speaks first, each
# by its protocol's RFC or its program's.  Where a client speaks TLS, or first, the first bytes tell at once.
KNOWN_PORTS = {
    13: "daytime",
    17: "qotd",
    19: "chargen",
    21: "ftp",
    22: "ssh",
    23: "telnet",
    25: "smtp",
    37: "time",
    109: "pop2",
    110: "pop3",
    119: "nntp",
    143: "imap",
    220: "imap3",
    433: "nnsp",
    587: "submission",
    873: "rsync",
    3306: "mysql",
    3690: "svn",
    4190: "sieve",
    5900: "rfb",
}
# How many ports of images are remembered; the oldest is forgotten first.
LIMIT = 1000
# As tcp, but over the cluster that auto had: it stays, and with it the connections that are open.
SEEN_TCP = TCP._replace(upstream=AUTO.upstream)


class ServerFirst:
    """The ports of images that were seen; ``changes`` counts what was learnt."""

    def __init__(self) -> None:
        self.changes = 0
        self._seen: dict[tuple[str, int], None] = {}  # the one learnt last is last

    def decided(self, serving: Serving, image: str, port: int) -> Serving:
        """How a container's port is served: what its labels say, or for auto what is known of the port."""
        if serving.mode is not AUTO:
            return serving
        if port in KNOWN_PORTS:
            return serving._replace(mode=TCP, chosen_by=BY_PORT)
        if (image, port) in self._seen:
            return _seen(serving)
        return serving

    def take_in(
        self, leases: Iterable[Lease], spoke: Collection[str], answered: Collection[str]
    ) -> list[tuple[Lease, Service, Serving]]:
        """Learn from what Envoys count, and say what that changes: leases, and how they are served now.

        ``spoke`` are the origins (see ``origin_of``) whose containers have spoken first, ``answered`` the
        clusters whose containers have answered HTTP.  Those stay: what a server of HTTP says to a client that
        is silent for long is no greeting.
        """
        looked_at = [lease for lease in leases if lease.is_looked_at]
        speaks_http = {_port_of(lease) for lease in looked_at if lease.cluster in answered}
        found = {lease for lease in suspects(looked_at, spoke) if lease.cluster not in answered}
        for lease in found:
            if (key := _port_of(lease)) not in speaks_http:
                self.learn(*key)
        changed = []
        for lease in looked_at:
            assert lease.service is not None and lease.serving is not None
            if lease.cluster in answered:
                continue
            serving = self.decided(lease.serving, *_port_of(lease))
            if serving is lease.serving and lease in found:  # its image has no name, or speaks HTTP elsewhere
                serving = _seen(serving)
            if serving is not lease.serving:
                changed.append((lease, lease.service, serving))
        return changed

    def learn(self, image: str, port: int) -> None:
        """Remember that containers of this image speak first on this port; without a name it is not."""
        if image and (image, port) not in self._seen:
            self._seen[image, port] = None
            if len(self._seen) > LIMIT:
                del self._seen[next(iter(self._seen))]
            self.changes += 1

    def lines(self) -> Iterator[str]:
        """What is remembered, as ``read`` takes it."""
        return (f"{port} {image}\n" for image, port in self._seen)

    def read(self, text: str) -> None:
        """Remember what ``lines`` of an earlier registrar said.  Lines that are none of its are left out."""
        for line in text.splitlines():
            number, _, image = line.partition(" ")
            if number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 65536:
                self.learn(printable(image), int(number))


def suspects(leases: Iterable[Lease], spoke: Collection[str]) -> list[Lease]:
    """Those of the leases that are looked at and whose containers have spoken first."""
    return [
        lease
        for lease in leases
        if lease.is_looked_at
        and lease.service is not None
        and origin_of(lease.service, lease.binding.backend) in spoke
    ]


def _port_of(lease: Lease) -> tuple[str, int]:
    """What is learnt of: the image, and the container's port."""
    assert lease.service is not None
    return lease.service.image, lease.binding.backend.port


def _seen(serving: Serving) -> Serving:
    """How a port of mode auto is served once its container was seen to speak first."""
    return serving._replace(mode=SEEN_TCP, chosen_by=BY_SEEN)
