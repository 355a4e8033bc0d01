"""What was measured on, and which versions of what."""

import os
import platform
import re
import shutil
from pathlib import Path

import shim
from bench.plan import PATH, Plan
from tests.harness import envoy
from tests.harness.engines import find_engine
from tests.harness.netns import CommandError, run, tool_env


def describe_machine() -> dict[str, str]:
    memory = int(_field("/proc/meminfo", "MemTotal").split()[0])
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 1024 / 1024:.1f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "load when it began": f"{os.getloadavg()[0]:.1f} (1 min), {os.getloadavg()[1]:.1f} (5 min)",
    }


def describe_versions(plan: Plan) -> dict[str, str]:
    found = {"envoy-docker-shim": f"{shim.__version__}{_commit()}"}
    for name in plan.engines:
        engine = find_engine(name)
        found[f"Docker Engine and docker-proxy {name}"] = engine.version
    if "28" not in plan.engines:
        found["docker-proxy of the single shims"] = find_engine("28").version
    found["Envoy"] = _version([str(envoy.binary()), "--version"])
    python = shutil.which("python3", path=PATH)
    found["Python of shims and registrar"] = _version([str(python), "--version"])
    found["wrk"] = _version(["wrk", "-v"])
    found["iperf3"] = _version(["iperf3", "--version"])
    return found


def cpu_ticks() -> tuple[int, int]:
    """Of all cores since boot: in all, and stolen by a hypervisor for its other guests."""
    numbers = [int(word) for word in _field("/proc/stat", "cpu ").split()]
    return sum(numbers[:8]), numbers[7]


def _version(argv: list[str]) -> str:
    try:
        text = run(["sh", "-c", '"$@" 2>&1 || :', "sh", *argv], env=tool_env())
    except CommandError as error:
        return f"unknown ({error})"
    found = re.search(r"\d+\.\d+\.\d+", text) or re.search(r"\d+\.\d+", text)
    return found[0] if found else text.strip()


def _commit() -> str:
    try:
        there = Path(__file__).parent
        commit = run(["git", "-C", str(there), "rev-parse", "--short", "HEAD"]).strip()
        others = [":/", ":!RESULTS.md", ":!results.*"]  # of the whole tree, but what a run writes
        changed = run(["git", "-C", str(there), "status", "--porcelain", *others]).strip()
    except (CommandError, OSError):
        return ""
    return f" ({commit}{', with uncommitted changes' * bool(changed)})"


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        if line.startswith(name):
            return (line.partition(":")[2] or line.removeprefix(name)).strip()
    return ""
