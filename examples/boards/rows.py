"""The dashboard's rows, from its top down."""

from examples.boards import host_panels, service_panels
from examples.boards.panel import Panel

ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": service_panels.GLANCE,
    "Services": service_panels.SERVICES,
    "HTTP": service_panels.OF_HTTP,
    "Connections and bytes": service_panels.OF_TCP,
    "UDP": service_panels.OF_UDP,
    "Envoys": host_panels.OF_ENVOYS,
    "Registrar, Docker and firewall": host_panels.OF_REGISTRAR,
}
