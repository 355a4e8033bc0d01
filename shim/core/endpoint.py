"""Where something listens."""

from typing import NamedTuple

from shim.wire.flags import format_address


class Endpoint(NamedTuple):
    """``host`` (an IP address, or a name; no brackets) and ``port``, or ``path`` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """As it is written in the configuration: ``host:port``, ``[v6]:port`` or ``unix:/path``."""
        return f"unix:{self.path}" if self.path else format_address(self.host, self.port)
