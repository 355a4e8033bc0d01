"""Looks at the host before anything is done to it."""

import grp
import hashlib
import os
import pwd
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from shim import __version__
from shim.core.setup import places
from shim.core.setup.dockerd_flags import dockerd_flags
from shim.core.setup.facts import DockerFacts, Envoy, Facts, FileState
from shim.core.setup.record import BadRecord, Record, read
from shim.host.procfs import started_at
from shim.host.trusted_paths import is_trusted
from shim.setup.docker_api import DockerApi
from shim.setup.strict import user_rules
from shim.setup.tools import SetupError, run, systemctl, unit

SETTINGS = "/etc/docker/daemon.json"
UNITS = (places.REGISTRAR, places.ENVOY, places.EGRESS)
BLOCK = 1 << 20


def look(file: str, envoy: Envoy | None, shipped: Iterable[str], record: Record | None) -> Facts:
    """All the facts.  Raises SetupError."""
    docker = look_at_docker()
    interesting = {
        *shipped,
        places.FILE,
        places.CONFIG,
        places.ENVOY_COPY,
        docker.settings_path + places.KEPT,
    }
    interesting |= set(record.files) if record is not None else set()
    states = {name: unit(name, "ActiveState", "UnitFileState", "FragmentPath", "MainPID") for name in UNITS}
    registrar = int(states[places.REGISTRAR]["MainPID"])
    return Facts(
        version=__version__,
        file=file,
        file_digest=digest_of(file),
        docker=docker,
        envoy=envoy,
        # A hundred megabytes: read only where there is something to compare them to.
        envoy_digest=digest_of(envoy.source) if envoy is not None and os.path.isfile(envoy.path) else "",
        user=_known(pwd.getpwnam),
        group=_known(grp.getgrnam),
        nft=shutil.which("nft") is not None,
        present={path: digest_of(path) for path in interesting if os.path.isfile(path)},
        foreign=tuple(name for name, state in states.items() if _foreign(state["FragmentPath"])),
        active=frozenset(n for n, state in states.items() if state["ActiveState"] in ("active", "reloading")),
        stale_registrar=any(
            _changed_since_start(path, registrar) for path in (places.FILE, places.CONFIG) if registrar
        ),
        enabled=frozenset(name for name, state in states.items() if state["UnitFileState"] == "enabled"),
    )


def look_at_docker() -> DockerFacts:
    """dockerd, its command line and its settings.  Raises SetupError."""
    state = unit("docker.service", "LoadState", "MainPID", "ExecStart")
    if state["LoadState"] != "loaded":
        path = os.path.realpath(SETTINGS)  # they may have stayed
        kept = content_of(path + places.KEPT)
        return DockerFacts(installed=False, settings_path=path, settings=read_file(path), kept=kept)
    pid = int(state["MainPID"])
    flags = dockerd_flags(command_line(pid) if pid else _to_be_started(state["ExecStart"]))
    # Where it is a link, the file that is meant: it stays a link.
    path = os.path.realpath(flags.get("config-file", SETTINGS))
    facts = {
        "flags": flags,
        "settings_path": path,
        "settings": read_file(path),
        "kept": content_of(path + places.KEPT),
    }
    if not pid:
        return DockerFacts(**facts)  # type: ignore[arg-type]
    api = DockerApi()
    info = api.ask("/info")
    return DockerFacts(
        process=process_name(pid),
        version=str(info["ServerVersion"]),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        swarm=info.get("Swarm", {}).get("LocalNodeState") not in (None, "", "inactive"),
        containers=api.containers(),
        networks=api.networks(),
        user_rules=user_rules(),
        own_proxies=own_proxies(pid),
        edited=_changed_since_start(path, pid),
        **facts,  # type: ignore[arg-type]
    )


def command_line(pid: int) -> list[str]:
    """A process's words; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return [""]


def _to_be_started(exec_start: str) -> list[str]:
    """dockerd's words as its unit has them, with DOCKER_OPTS from Debian's file of them."""
    found = re.search(r"argv\[\]=(.*?) ;", exec_start)
    words = found[1].split() if found else [""]
    options = re.findall(
        r"""^\s*DOCKER_OPTS=["']?(.*?)["']?\s*$""", _text("/etc/default/docker"), re.MULTILINE
    )
    return [*words, *(options[-1].split() if options else [])]


def process_name(pid: int) -> str:
    """A name that no other process of this host has, not even after a reboot; empty for one that is gone."""
    stat = _text(f"/proc/{pid}/stat")
    boot = _text("/proc/sys/kernel/random/boot_id").strip()
    return f"{boot}/{pid}/{stat.rpartition(')')[2].split()[19]}" if stat else ""


def _changed_since_start(path: str, pid: int) -> bool:
    """Whether a file was written, or put there, after a process had started."""
    if not os.path.exists(path):
        return False
    try:
        started = started_at(Path(f"/proc/{pid}"))
    except (OSError, ValueError, IndexError):
        return False
    return os.stat(path).st_ctime > started + 1  # btime has whole seconds


def own_proxies(dockerd: int) -> bool:
    """Whether dockerd has started processes of docker-proxy."""
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            command, _, rest = _text(f"/proc/{entry.name}/stat").partition("(")[2].rpartition(")")
            if command == "docker-proxy" and rest.split()[1] == str(dockerd):
                return True
    return False


def look_at_envoy(source: str) -> Envoy:
    """An Envoy that was found there, and where its unit can have it.  Raises SetupError."""
    said = run([source, "--version"], timeout=30)
    version = re.search(r"/(\d+\.\d+\.\d+[^/]*)/", said)
    if version is None:
        raise SetupError(f"{source} --version does not answer as Envoy does: {said.strip()[:100]!r}")
    source = os.path.realpath(source)
    return Envoy(source, source if _for_everybody(source) else places.ENVOY_COPY, version[1])


def _for_everybody(path: str) -> bool:
    """Whether Envoy's unit can start this: a place that no program of the system's takes away again."""
    if not re.fullmatch(rf"(/usr|/opt|{places.STATE})/[A-Za-z0-9_./+-]+", path):
        return False
    parts = [path, *map(str, Path(path).parents)]
    return is_trusted(Path(path), 0) and all(
        os.stat(part).st_mode & 0o001 and os.stat(part).st_uid == 0 for part in parts
    )


def read_record() -> Record | None:
    """What an earlier installation has written down.  Raises SetupError."""
    content = content_of(places.RECORD)
    try:
        return None if content is None else read(content)
    except BadRecord as error:
        raise SetupError(f"{places.RECORD}: {error}") from None


def read_file(path: str) -> FileState | None:
    """None where there is none.  Raises SetupError."""
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            return FileState(file.read(), found.st_mode & 0o7777, found.st_uid, found.st_gid)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None


def content_of(path: str) -> bytes | None:
    """None where there is no such file.  Raises SetupError."""
    found = read_file(path)
    return None if found is None else found.content


def digest_of(path: str) -> str:
    """As shim.core.setup.settings.digest says, of a file that may be large.  Raises SetupError."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    return found.hexdigest()


def _foreign(fragment: str) -> bool:
    """Whether a unit's file is somebody else's: ours name this project."""
    return bool(fragment) and "envoy-docker-shim" not in _text(fragment)


def _known(find: object) -> bool:
    try:
        find(places.USER)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def systemd_runs() -> bool:
    """Whether systemd is this host's init."""
    return os.path.isdir("/run/systemd/system") and bool(systemctl("--version"))
