"""dockerd as a process: its settings, the proxy that it is to start, and those that it has started."""

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shim.core.doctor.facts import DaemonFile, Dockerd, Process, ProxyFile, Unknown
from shim.core.setup.dockerd_flags import dockerd_flags
from shim.doctor import processes
from shim.host.peer_credentials import credentials_of
from shim.host.procfs import flags_of

DEFAULT_FILE = "/etc/docker/daemon.json"
SYSTEMD = 1
CALL = "-container-ip"  # a flag of every proxy's


def look(docker_host: str, file: Path) -> Dockerd:
    """Everything; ``file`` is the one that this program is."""
    process = _daemon(docker_host)
    flags = dockerd_flags(process.argv) if process else {}
    written = _read(Path(flags.get("config-file", DEFAULT_FILE)))
    settings: Mapping[str, Any] = {} if isinstance(written, Unknown) else written.settings
    path = flags.get("userland-proxy-path", settings.get("userland-proxy-path"))
    proxy = _proxy(Path(path), file) if isinstance(path, str) and path else None
    started = processes.children(process.pid) if process else []
    others = [argv for argv in started if CALL in argv and flags_of(list(argv)) is None]
    return Dockerd(process, flags, written, proxy, sum("docker-proxy" in argv[0] for argv in others))


def _daemon(docker_host: str) -> Process | None:
    """The one behind the socket, else the one that runs here."""
    if docker_host.startswith("unix://") and processes.named("dockerd"):
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(processes.BOUND)
                sock.connect(docker_host.removeprefix("unix://"))
                pid = credentials_of(sock).pid
        except OSError:
            pid = 0
        if pid > SYSTEMD:
            return processes.process(pid)
    pid = processes.named("dockerd")
    return processes.process(pid) if pid else None


def _read(path: Path) -> "DaemonFile | Unknown":
    try:
        text = path.read_text()
    except FileNotFoundError:
        return DaemonFile(str(path), {})
    except (OSError, ValueError) as error:
        return Unknown(f"{path}: {error}")
    try:
        settings = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        return DaemonFile(str(path), {}, f"not valid JSON: {error}")
    if not isinstance(settings, dict):
        return DaemonFile(str(path), {}, "not an object")
    return DaemonFile(str(path), settings)


def _proxy(path: Path, file: Path) -> ProxyFile:
    there = path.is_file()
    executable = there and os.access(path, os.X_OK)
    return ProxyFile(str(path), there, executable, there and _same(path, file))


def _same(one: Path, other: Path) -> bool:
    try:
        if os.path.samefile(one, other):
            return True
        if one.stat().st_size != other.stat().st_size:
            return False
        return _digest(one) == _digest(other)
    except OSError:
        return False


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        digest = hashlib.sha256()
        while part := content.read(1 << 20):
            digest.update(part)
    return digest.digest()
