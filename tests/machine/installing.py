"""Installing on a booted host as the README says: its own commands, in a directory like a checkout."""

from pathlib import Path

from tests.examples.documents import README, UNITS, section_blocks
from tests.harness.engines import ROOT
from tests.harness.machine import Machine

CHECKOUT = "/root/checkout"
INSTALL = "Install in five minutes"


def install(machine: Machine, artifact: Path) -> None:
    """Registrar, Envoy (which the host has in /usr/local/bin) and dockerd's settings; then the reboot."""
    machine.put(f"{CHECKOUT}/dist/envoy-docker-shim", artifact, mode=0o755)
    for path in UNITS.rglob("*"):
        if path.is_file():
            machine.put(f"{CHECKOUT}/{path.relative_to(ROOT)}", path)
    for script in section_blocks("sh", README, INSTALL):
        machine.shell(f"cd {CHECKOUT}\n{script}")
    (settings,) = section_blocks("json", README, INSTALL)
    machine.put("/etc/docker/daemon.json", settings)
    machine.reboot()
