"""Whether Docker's API answers: kept by the one task that asks it (docker.py), read by all others."""

import logging

log = logging.getLogger("envoy-docker-shim")


class DockerHealth:
    """``error`` says why Docker does not answer; empty while it does, and before it is first asked."""

    def __init__(self) -> None:
        self.reachable = False
        self.error = ""

    def answered(self, containers: int) -> None:
        """Docker listed this many running containers."""
        if not self.reachable:
            log.info("Docker is reachable: %d containers are running", containers)
        self.reachable, self.error = True, ""

    def failed(self, reason: str) -> None:
        """Docker did not answer, or not as it should; ``reason`` is for `status` and the log."""
        if self.reachable or not self.error:
            log.warning("Docker is not reachable: %s (trying again for ever)", reason)
        self.reachable, self.error = False, reason
