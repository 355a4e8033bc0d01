"""Installing on a booted host as the README says: its own commands, in a directory like a checkout."""

from pathlib import Path

from tests.examples.documents import README, UNITS, section_fences
from tests.harness.engines import ROOT
from tests.harness.machine import Machine

CHECKOUT = "/root/checkout"
INSTALL = "Install in five minutes"


def install(machine: Machine, artifact: Path) -> None:
    """Registrar, Envoy (which the host has in /usr/local/bin) and dockerd's settings, block by block."""
    machine.put(f"{CHECKOUT}/dist/envoy-docker-shim", artifact, mode=0o755)
    for path in UNITS.rglob("*"):
        if path.is_file():
            machine.put(f"{CHECKOUT}/{path.relative_to(ROOT)}", path)
    for language, block in section_fences(README, INSTALL):
        if language == "sh":
            machine.shell(f"cd {CHECKOUT}\n{block}")
        elif language == "json":
            machine.put("/etc/docker/daemon.json", block)
