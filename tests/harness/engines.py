"""Which Docker engines there are here, and how to get them: the machine's own, and others unpacked beside it.

`python -m tests.harness.engines` installs (as root, on Debian) and fetches what is missing.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .netns import CommandError, run, tool_env

ROOT = Path(__file__).resolve().parents[2]
FETCH = Path(__file__).with_name("get_docker.sh")
# Before and after -use-listen-fd; $EDS_ENGINES names others (tests.matrix).
ENGINES = tuple(os.environ.get("EDS_ENGINES", "20.10 28").split())
# Those that are unpacked, and the Debian release that has them.
RELEASES = {"26.1": "trixie", "28": "forky"}

# Command to Debian package, for what the tests on a real dockerd run.
TOOLS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "runc": "runc",
    "containerd": "containerd",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "nft": "nftables",
    "systemd-analyze": "systemd",
    "faketime": "faketime",
}
# And for the tests on a host that boots (tests.harness.machine).
MACHINE_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
# And for what shells complete, and the manual page.
PAGE_TOOLS = {"zsh": "zsh", "mandoc": "mandoc"}
POLICY = Path("/usr/sbin/policy-rc.d")


class Missing(Exception):
    """Something that the tests on a real dockerd need is not here; the text says what."""


class Engine(NamedTuple):
    name: str
    dockerd: Path
    proxy: Path  # its own docker-proxy
    path: str  # a PATH on which dockerd finds the containerd and the shim it was built with

    @property
    def version(self) -> str:
        text = run([self.dockerd, "--version"], env={"PATH": self.path})
        match = re.search(r"version (\d+(?:\.\d+)+)", text)
        return match[1] if match else text.strip()


def which(command: str) -> Path | None:
    found = shutil.which(command, path=tool_env()["PATH"])
    return Path(found) if found else None


def missing(*, machine: bool = False) -> list[str]:
    """What keeps the tests on a real dockerd from running here, apart from the engines; empty: nothing.

    With `machine`, the tests on a host that boots.
    """
    tools = MACHINE_TOOLS if machine else TOOLS
    reasons = [] if os.geteuid() == 0 else ["not root"]
    lacking = [name for name in tools if name != "dockerd" and which(name) is None]
    if lacking:
        reasons.append(f"no {', '.join(lacking)} (Debian: {' '.join(sorted({tools[x] for x in lacking}))})")
    return reasons


def find_engine(name: str) -> Engine:
    """The engine of that name; Missing says why there is none.

    "20.10" is any before 26, on PATH; "28" is in $EDS_DOCKER28, else in .build/docker28, fetched if need be,
    as is every other.
    """
    engine = _unpacked_engine(name) if name in RELEASES else _engine_on_path(name)
    major = int(engine.version.split(".", 1)[0])
    if name in RELEASES:
        fits = major == int(name.split(".", 1)[0]) or (name == "28" and major > 28)
    else:
        fits = major < 26
    if not fits:
        raise Missing(f"Docker Engine {name}: {engine.dockerd} is version {engine.version}")
    return engine


def ensure_packages() -> None:
    """Install what is missing, without starting the host's own dockerd."""
    tools = {**TOOLS, **MACHINE_TOOLS, **PAGE_TOOLS}
    lacking = {package for command, package in tools.items() if which(command) is None}
    if lacking:
        if os.geteuid() or which("apt-get") is None:
            raise Missing(f"install these packages first: {' '.join(sorted(lacking))}")
        _apt_install(lacking)
        if which("docker") is None:  # a package of its own since Debian 13
            _apt_install({"docker-cli"})


def _engine_on_path(name: str) -> Engine:
    dockerd, proxy = which("dockerd"), which("docker-proxy")
    if dockerd is None or proxy is None:
        raise Missing(f"Docker Engine {name}: no dockerd on PATH (Debian: apt-get install docker.io)")
    return Engine(name, dockerd, proxy, f"{dockerd.parent}:{tool_env()['PATH']}")


def _unpacked_engine(name: str) -> Engine:
    folder = f"docker{name.split('.', 1)[0]}"
    given = os.environ.get(f"EDS_{folder.upper()}")
    tree = Path(given) if given else ROOT / ".build" / folder
    if not (tree / "usr/sbin/dockerd").exists():
        if given or os.geteuid() or which("apt-get") is None:
            raise Missing(
                f"Docker Engine {name}: not in {tree}; get it as root: {FETCH} {RELEASES[name]} {tree}"
            )
        try:
            run([FETCH, RELEASES[name], tree], timeout=600, env=tool_env())
        except CommandError as error:
            raise Missing(f"Docker Engine {name} could not be fetched: {error}") from error
    sbin = tree / "usr/sbin"
    return Engine(
        name, sbin / "dockerd", sbin / "docker-proxy", f"{sbin}:{tree / 'usr/bin'}:{tool_env()['PATH']}"
    )


def _apt_install(packages: set[str]) -> None:
    # docker.io's installation starts a dockerd for the whole machine, unless a policy says no.
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        env = {**tool_env(), "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends"]
        subprocess.run(["apt-get", "-qq", "update"], check=True, env=env)
        subprocess.run([*install, *sorted(packages)], check=True, env=env, stdout=subprocess.DEVNULL)
    finally:
        if ours:
            POLICY.unlink()


if __name__ == "__main__":
    try:
        ensure_packages()
        find_engine("28")
    except (Missing, subprocess.CalledProcessError) as problem:
        sys.exit(f"{problem}")
