"""Whether Docker's API answers: kept by the one task that asks it (docker.py), read by everybody."""

import logging

log = logging.getLogger("envoy-docker-shim")


class DockerHealth:
    """``error`` says why it does not answer; it is empty while it does, and before it was first asked."""

    def __init__(self) -> None:
        self.reachable = False
        self.error = ""

    def answered(self, containers: int) -> None:
        """It listed this many running containers."""
        if not self.reachable:
            log.info("Docker is reachable: %d containers are running", containers)
        self.reachable, self.error = True, ""

    def failed(self, reason: str) -> None:
        """It did not answer, or not as Docker does."""
        if self.reachable or not self.error:
            log.warning("Docker is not reachable: %s (trying again for ever)", reason)
        self.reachable, self.error = False, reason
