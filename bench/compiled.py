"""The load generators and servers in C, compiled when they have changed."""

from pathlib import Path

from tests.harness.engines import ROOT
from tests.harness.netns import run, tool_env

HERE = Path(__file__).parent


def compiled(name: str) -> Path:
    """The program made of NAME.c; static, so that it runs in any container."""
    source, program = HERE / f"{name}.c", ROOT / ".build" / "bench" / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        gcc = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", str(program), str(source)]
        run(gcc, env=tool_env(), timeout=120)
    return program
