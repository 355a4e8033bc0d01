"""What systemd says of the units."""

from pathlib import Path

from shim.core.doctor.facts import Unit, Unknown
from shim.core.doctor.of_services import ENVOY, REGISTRAR
from shim.doctor.asking import BOUND, asked
from shim.registrar.firewall.programs import Programs

PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result")
RUNS = Path("/run/systemd/system")  # sd_booted(3)


async def look(programs: Programs) -> "dict[str, Unit] | Unknown":
    """The units of this program by name; empty where no systemd runs."""
    if not RUNS.is_dir():
        return {}
    argv = ["systemctl", "show", REGISTRAR, ENVOY, f"--property={','.join(PROPERTIES)}"]
    text = await asked(lambda: programs.run(argv, "", BOUND))
    if isinstance(text, Unknown):
        return text
    found = {}
    for block in text.strip().split("\n\n"):
        said = dict(line.partition("=")[::2] for line in block.splitlines())
        name = said.get("Id", "")
        found[name] = Unit(
            name,
            said.get("LoadState") == "loaded",
            said.get("ActiveState", ""),
            said.get("SubState", ""),
            said.get("UnitFileState", ""),
            said.get("Result", ""),
        )
    return found
