"""A throw-away machine: a network namespace, a directory, and the promise that closing it leaves nothing.

    with Host(neighbour=True) as host:
        server = host.popen(["python3", "-m", "http.server", "8000"], log=host.dir / "server.log")
        eventually(lambda: host.http_get("http://127.0.0.1:8000/").status == 200)
        host.neighbour.http_get(f"http://{host.ip}:8000/")

Everything that belongs to it bears its name: the namespaces, the directory, the cgroup its containers are
under.  So what an interrupted run left is found by name: `python -m tests.harness.host` sweeps it up.
"""

import contextlib
import ctypes
import os
import re
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .netns import NETNS_DIR, CommandError, Namespace, run, tool_env
from .wait import eventually

__all__ = ["CommandError", "Host", "Namespace", "eventually", "sweep"]

NAME = re.compile(r"eds-(\d+)-[0-9a-f]{6}")
CGROUPS = Path("/sys/fs/cgroup")
MNT_DETACH = 2
# Directories that any dockerd or containerd makes, wherever its own state is.
SHARED = [Path(p) for p in ("/run/containerd/s", "/run/containerd", "/run/docker/plugins", "/run/docker")]
SHIM_SOCKET = re.compile(r"/run/containerd/s/[0-9a-f]{64}")

_libc = ctypes.CDLL(None, use_errno=True)


class Host(Namespace):
    """A machine; with `neighbour=True` another one on the same wire, at the addresses below."""

    ip, ip6 = "10.203.0.1", "fd00:203::1"
    neighbour_ip, neighbour_ip6 = "10.203.0.2", "fd00:203::2"

    def __init__(self, *, neighbour: bool = False) -> None:
        if os.geteuid():
            raise PermissionError("a Host needs root")
        self._shared_before = {path for path in SHARED if path.exists()}
        name = f"eds-{os.getpid()}-{secrets.token_hex(3)}"
        self.dir = Path(tempfile.gettempdir()) / name
        self._neighbour: Namespace | None = None
        try:
            self.dir.mkdir(mode=0o755)
            super().__init__(name)
            if neighbour:
                self._neighbour = Namespace(f"{name}-n")
                self._join(self._neighbour)
        except BaseException:
            _remove(name, self._shared_before)
            raise

    @property
    def neighbour(self) -> Namespace:
        assert self._neighbour is not None, "made without Host(neighbour=True)"
        return self._neighbour

    @property
    def cgroup(self) -> str:
        """What its dockerd is to use as --cgroup-parent."""
        return f"/{self.name}"

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all that runs here and remove all that was made; a second call does nothing."""
        _remove(self.name, self._shared_before)
        self.reap()
        if self._neighbour is not None:
            self._neighbour.reap()

    def renew_network(self) -> None:
        """An empty network namespace in place of the old one, as a reboot gives; the neighbour stays.

        Whatever ran in the old one must have ended.
        """
        if self._neighbour is not None:
            self._neighbour.run("ip", "link", "delete", "eth0")  # at once: the namespace goes when it likes
        run(["ip", "netns", "delete", self.name], env=tool_env())
        self.make()
        if self._neighbour is not None:
            self._join(self._neighbour)

    def pids(self) -> set[int]:
        """Every process of the machine: in its namespaces, or in a container of its dockerd."""
        return _pids(self.name)

    def leftovers(self) -> list[str]:
        """What there still is of this machine, one line each; empty after close()."""
        found = [f"process {pid}: {_cmdline(pid)}" for pid in sorted(_pids(self.name) | _named(self.name))]
        found += [f"mount {path}" for path in _mounts(self.name)]
        found += [f"netns {path}" for path in _namespaces(self.name)]
        found += [f"cgroup {path}" for path in _cgroups(self.name)]
        if self.dir.exists():
            found.append(f"directory {self.dir}")
        return found

    def _join(self, other: Namespace) -> None:
        ends = ["eth0", "netns", self.name, "type", "veth", "peer", "name", "eth0", "netns", other.name]
        run(["ip", "link", "add", *ends], env=tool_env())
        for side, v4, v6 in (
            (self, self.ip, self.ip6),
            (other, self.neighbour_ip, self.neighbour_ip6),
        ):
            side.run("ip", "address", "add", f"{v4}/24", "dev", "eth0")
            side.run("ip", "address", "add", f"{v6}/64", "dev", "eth0", "nodad")
            side.run("ip", "link", "set", "eth0", "up")


def sweep() -> list[str]:
    """Remove the machines whose makers are dead; returns their names."""
    places = [*NETNS_DIR.glob("eds-*"), *Path(tempfile.gettempdir()).glob("eds-*")]
    places += [*CGROUPS.glob("eds-*"), *CGROUPS.glob("*/eds-*")]
    names = {match for place in places if (match := NAME.match(place.name))}
    dead = sorted({match[0] for match in names if not Path("/proc", match[1]).exists()})
    for name in dead:
        _remove(name, set(SHARED))
    return dead


def _remove(name: str, keep: set[Path]) -> None:
    _kill_all(name, time.monotonic() + 20)
    directory = Path(tempfile.gettempdir()) / name
    for path in shim_sockets(directory):
        path.unlink(missing_ok=True)
    for mount in reversed(_mounts(name)):
        _libc.umount2(os.fsencode(mount), MNT_DETACH)
    for path in _namespaces(name):
        run(["ip", "netns", "delete", path.name], env=tool_env())
    if directory.exists():
        shutil.rmtree(directory)
    for cgroup in reversed(_cgroups(name)):
        # A killed process leaves its cgroup a moment after it is gone.
        eventually(lambda path=cgroup: _rmdir(path), what=f"rmdir {cgroup}")  # type: ignore[misc]
    if not [*NETNS_DIR.glob("eds-*")]:  # another machine may be about to use them
        for path in SHARED:
            if path not in keep:
                with contextlib.suppress(OSError):
                    path.rmdir()


def _rmdir(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
    return True


def _kill_all(name: str, deadline: float) -> None:
    while pids := _pids(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: these will not die: { {pid: _cmdline(pid) for pid in pids} }")
        with contextlib.ExitStack() as stack:
            held: dict[int, int] = {}
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    held[pid] = os.pidfd_open(pid)
                    stack.callback(os.close, held[pid])
            # Looked at again now that a number can no longer pass to another process.
            ours = _pids(name).intersection(held)
            for pid in ours:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(held[pid], signal.SIGKILL)
            for pid in ours:
                poller = select.poll()
                poller.register(held[pid], select.POLLIN)
                poller.poll(max(0.0, deadline - time.monotonic()) * 1000)


def _pids(name: str) -> set[int]:
    wanted = {_identity(path) for path in _namespaces(name)} - {None}
    found = {pid for pid in _processes() if wanted and _identity(Path(f"/proc/{pid}/ns/net")) in wanted}
    for cgroup in _cgroups(name):
        with contextlib.suppress(OSError):
            found.update(map(int, (cgroup / "cgroup.procs").read_text().split()))
    return found - {0, os.getpid()}


def _named(name: str) -> set[int]:
    """Processes whose command line has a path of the machine's, this test run's own aside."""
    return {pid for pid in _processes() if f"{name}/" in _cmdline(pid)} - {os.getpid(), os.getppid()}


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _namespaces(name: str) -> list[Path]:
    return [path for path in (NETNS_DIR / name, NETNS_DIR / f"{name}-n") if path.exists()]


def _cgroups(name: str) -> list[Path]:
    """Its cgroups in every hierarchy (v1 has one a controller), parents first."""
    tops = [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top)]


def _mounts(name: str) -> list[str]:
    """Mount points under its directory, in the order they were made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in lines]
    return [point for point in points if point.startswith(f"{tempfile.gettempdir()}/{name}/")]


def shim_sockets(directory: Path) -> set[Path]:
    """Sockets of containerd's shims: outside the exec-root whatever one says, and orphaned by a kill -9."""
    found: set[Path] = set()
    for pattern in (
        "*/exec/containerd/daemon/*/moby/*/address",
        "*/exec/containerd/daemon/*/moby/*/bootstrap.json",
    ):
        for record in directory.glob(pattern):
            found.update(map(Path, SHIM_SOCKET.findall(record.read_text())))
    return found


if __name__ == "__main__":
    for swept in sweep():
        print(f"removed {swept}", file=sys.stderr)
