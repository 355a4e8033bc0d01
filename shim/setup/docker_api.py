"""Docker as it runs, asked over its API."""

from typing import Any

import httpx

from shim.core.setup.egress import Network
from shim.core.setup.facts import Container, Port
from shim.setup.tools import SetupError

TIMEOUT = 10.0  # seconds for an answer


class DockerApi:
    """Docker's API on a Unix socket, for a dockerd that runs: a connection to systemd's socket starts one."""

    def __init__(self, path: str = "/run/docker.sock") -> None:
        self._path = path

    def ask(self, page: str) -> Any:
        """The JSON at a page.  Raises SetupError."""
        try:
            transport = httpx.HTTPTransport(uds=self._path, verify=False)
            with httpx.Client(transport=transport, timeout=TIMEOUT, trust_env=False) as client:
                answer = client.get(f"http://docker{page}")
                answer.raise_for_status()
                return answer.json()
        except (httpx.HTTPError, ValueError, OSError) as error:
            raise SetupError(f"Docker does not answer on {self._path}: {error}") from None

    def live_restore(self) -> bool:
        """Whether containers live on while dockerd restarts.  Raises SetupError."""
        return bool(self.ask("/info").get("LiveRestoreEnabled"))

    def networks(self) -> tuple[Network, ...]:
        """Those with a bridge.  Raises SetupError."""
        return tuple(sorted(_network(row) for row in self.ask("/networks") if row["Driver"] == "bridge"))

    def containers(self) -> tuple[Container, ...]:
        """Those that run.  Raises SetupError."""
        found = []
        for row in self.ask("/containers/json"):
            details = self.ask(f"/containers/{row['Id']}/json")
            policy = details["HostConfig"]["RestartPolicy"]["Name"]
            name = details["Name"].lstrip("/")
            found.append(Container(name, policy in ("always", "unless-stopped"), _ports(row, name)))
        return tuple(sorted(found))


def _ports(row: dict[str, Any], name: str) -> tuple[Port, ...]:
    return tuple(
        sorted(
            Port(port["Type"], port["IP"], port["PublicPort"], name)
            for port in row.get("Ports") or []
            if port.get("PublicPort") and port.get("IP")
        )
    )


def _network(row: dict[str, Any]) -> Network:
    option = "com.docker.network.bridge"
    options = row.get("Options") or {}
    subnets = [config.get("Subnet") for config in row["IPAM"].get("Config") or []]
    return Network(
        row["Name"],
        options.get(f"{option}.name") or f"br-{row['Id'][:12]}",
        tuple(filter(None, subnets)),
        internal=bool(row["Internal"]),
        # The first network's own option is off for as long as dockerd makes no rules (Engine 28).
        masquerades=options.get(f"{option}.default_bridge") == "true"
        or options.get(f"{option}.enable_ip_masquerade") != "false",
    )
