"""Installing on a booted host by the pages' own commands, in a directory like a checkout."""

from pathlib import Path

from tests.examples.documents import README, UNITS, blocks, section_fences
from tests.harness.engines import ROOT
from tests.harness.machine import Machine

CHECKOUT = "/root/checkout"
BY_HAND = ("docs/operating.md", "By hand")


def install_by_hand(machine: Machine, artifact: Path) -> None:
    """Registrar, Envoy (which the host has in /usr/local/bin) and dockerd's settings, block by block."""
    machine.put(f"{CHECKOUT}/dist/envoy-docker-shim", artifact, mode=0o755)
    for path in UNITS.rglob("*"):
        if path.is_file():
            machine.put(f"{CHECKOUT}/{path.relative_to(ROOT)}", path)
    for language, block in section_fences(*BY_HAND):
        if language == "sh":
            machine.shell(f"cd {CHECKOUT}\n{block}")
        elif language == "json":
            machine.put("/etc/docker/daemon.json", block)


def install_command() -> str:
    """The README's command that does it, without its comment."""
    (line,) = [
        line for block in blocks("sh", README) for line in block.splitlines() if "install --yes" in line
    ]
    return line.partition("#")[0].strip()
