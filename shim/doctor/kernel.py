"""What the kernel says: rules, sockets, interfaces, settings, the disk."""

import fcntl
import json
import platform
import shutil
import socket
import struct
import sys
import time
from pathlib import Path

from shim.core.doctor.facts import Host, Process, Rules, Unknown
from shim.core.firewall import listing
from shim.core.firewall.names import FAMILY, TABLE
from shim.core.firewall.table import Served
from shim.core.ruleset import iptables_rules, nft_rules
from shim.core.ruleset.iptables_rules import Mapped
from shim.doctor.asking import asked, looked
from shim.host.tcp_sockets import listening
from shim.registrar.firewall.programs import Programs

# Interfaces that no client on the network comes in by: the host's own, and those of containers.
INNER = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "dummy")
SIOCGIFFLAGS, IFF_UP = 0x8913, 1
CGROUPS = Path("/sys/fs/cgroup")
# iptables' older backend keeps its rules where nft does not see them; `X_tables_names` says if it is in use.
SAVE = {
    4: ("iptables-save", "iptables-legacy-save", "ip"),
    6: ("ip6tables-save", "ip6tables-legacy-save", "ip6"),
}


async def rules(programs: Programs, bound: float) -> Rules:
    """The firewall: nft's tables, and in place of those that iptables made what iptables says of them."""
    text = await asked(lambda: programs.nft("-j", "list", "ruleset", timeout=bound))
    if isinstance(text, Unknown):
        return Rules(text, text, text)
    try:
        tables = {table.name: table for table in nft_rules.parse(text)}
        served = _served(text) if f"{FAMILY} {TABLE}" in tables else None
    except ValueError as error:
        unknown = Unknown(str(error))
        return Rules(unknown, unknown, unknown)
    mapped: list[Mapped] = []
    for version in SAVE:
        for saved in await _saved(programs, version, set(tables), bound):
            if isinstance(saved, Unknown):
                return Rules(saved, saved, served)
            tables |= {table.name: table for table in iptables_rules.parse(saved, version)}
            mapped += iptables_rules.mapped(saved, version)
    return Rules(tuple(tables.values()), tuple(mapped), served)


def _served(text: str) -> frozenset[Served]:
    mine = [
        thing
        for thing in json.loads(text)["nftables"]
        if any(
            isinstance(body, dict) and (body.get("family"), body.get("table")) == (FAMILY, TABLE)
            for body in thing.values()
        )
    ]
    return listing.parse(json.dumps({"nftables": mine})).served


async def _saved(programs: Programs, version: int, tables: set[str], bound: float) -> "list[str | Unknown]":
    program, legacy, family = SAVE[version]
    found = []
    own = {f"{family} {name}" for name in ("filter", "nat", "mangle", "raw", "security")}
    if own & tables and programs.has(program):
        found.append(await asked(lambda: programs.run([program], "", bound)))
    try:
        in_use = Path(f"/proc/net/{family}_tables_names").read_text().split()
    except OSError:
        in_use = []
    if in_use and programs.has(legacy):
        found.append(await asked(lambda: programs.run([legacy], "", bound)))
    return found


def interfaces() -> tuple[str, ...]:
    """Those that clients on the network may come in by, that of the default route first."""
    names = [name for _, name in socket.if_nameindex() if not name.startswith(INNER)]
    up = [name for name in names if _is_up(name)]
    first = _default_route()
    return tuple(sorted(up, key=lambda name: (name != first, name)))


def _is_up(name: str) -> bool:
    """By the kernel's word, for this network namespace, which /sys may not be (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", name.encode(), 0)
        try:
            answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
        except OSError:
            return False
    return bool(struct.unpack("16sH14x", answer)[1] & IFF_UP)


def _default_route() -> str:
    try:
        for words in map(str.split, Path("/proc/self/net/route").read_text().splitlines()[1:]):
            if words[1] == words[7] == "00000000":
                return words[0]
    except (OSError, IndexError):
        pass
    return ""


async def host(file: Path, cache: str, dockerd: Process | None) -> Host:
    """This machine."""
    sockets = await looked(lambda: frozenset((found.ip, found.port) for found in listening()))
    now = time.time()
    return Host(
        kernel=_numbers(platform.release()),
        python=sys.version_info[:2],
        nft=Programs().has("nft"),
        now=now,
        clock=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)),
        file=str(file),
        file_time=_written(file),
        cache=cache,
        cache_free=await looked(lambda: _free(Path(cache))),
        forwarding=await looked(lambda: _sysctl("ip_forward") == 1),
        first_free_port=_first_free_port(),
        interfaces=interfaces(),
        listening=sockets,
        tasks=await looked(lambda: _tasks(dockerd)),
    )


def _numbers(release: str) -> tuple[int, int]:
    """``6.1`` of ``6.1.0-18-amd64``."""
    major, _, rest = release.partition(".")
    digits = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(digits)) if major.isdecimal() and digits.isdecimal() else (0, 0)


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _free(directory: Path) -> int:
    """Bytes that are left where the directory is, or would be made."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free


def _sysctl(name: str) -> int:
    return int(Path("/proc/sys/net/ipv4", name).read_text())


def _first_free_port() -> int:
    try:
        return _sysctl("ip_unprivileged_port_start")
    except (OSError, ValueError):
        return 1024


def _tasks(dockerd: Process | None) -> tuple[int, int]:
    """(processes, how many there may be) of dockerd's control group, v2 or v1's ``pids``; 0: no limit."""
    if dockerd is None:
        return 0, 0
    for line in Path(f"/proc/{dockerd.pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for top in (CGROUPS / "pids",) if controllers == "pids" else (CGROUPS,) if not controllers else ():
            at = top / path.lstrip("/")
            try:
                most = (at / "pids.max").read_text().strip()
                return int((at / "pids.current").read_text()), 0 if most == "max" else int(most)
            except OSError:
                continue
    return 0, 0
