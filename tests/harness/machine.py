"""A throw-away Debian host that boots: systemd is its pid 1, Docker runs there as Debian installs it.

    with Machine("28") as machine:
        machine.run_http("hello", "-p", "8080:80")
        eventually(lambda: machine.client.http_get(f"http://{machine.ip}:8080/").text == "hello\\n")
        machine.reboot()
        machine.power_cut()
        machine.boot()

systemd-nspawn boots the disk of tests.harness.rootfs in the network namespace of a Host (tests.harness.host),
so that processes, mounts, namespaces and cgroup go the way of a Host's.  The client is on the same wire, and
the machine's default route: it is all that there is of the world.
"""

import contextlib
import os
import select
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from .docker import IMAGE, SERVE_HTTP, busybox_tar
from .engines import RELEASES, Engine, find_engine
from .host import Host
from .netns import CommandError, Namespace, run, tool_env
from .rootfs import VOLATILE, Disk, layers
from .wait import eventually

BOOT_TIMEOUT = 90.0
REBOOT = 133  # systemd-nspawn's exit status when the machine asked for it
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# cgroup v2 inside, even where v1 is outside; of /proc/sys only the network's part can be written to, as the
# rest is this machine's too.
NSPAWN_ENV = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
NAMESPACES = [f"--{kind}" for kind in ("mount", "uts", "ipc", "net", "pid", "cgroup")]
# A shell that joins a cgroup before it turns into the command.
IN_CGROUP = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"']


class Machine:
    """A context manager: booted on entry, with Docker running and its image there; gone on exit."""

    ip, ip6 = Host.ip, Host.ip6
    client_ip, client_ip6 = Host.neighbour_ip, Host.neighbour_ip6

    def __init__(self, engine: Engine | str = "20.10") -> None:
        wanted = find_engine(engine) if engine in RELEASES else engine
        trees = layers(wanted if isinstance(wanted, Engine) else None)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0  # its pid 1, as this machine numbers it
        self._booted_before = False
        self.boot_took = 0.0
        self.host = Host(neighbour=True)
        try:
            self._base = trees[-1]
            self.disk = Disk(self.host.dir, trees)
            self._cgroup = _cgroup2() / self.host.name
            (self._cgroup / "commands").mkdir(parents=True)
            self._name_it()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Machine":
        try:
            self.boot()
            self.docker("import", "-", IMAGE, stdin=busybox_tar())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it at once, and remove all that was made."""
        self.power_cut()
        self.host.close()

    @property
    def client(self) -> Namespace:
        """Where requests from outside come from; its programs live through the machine's reboots."""
        return self.host.neighbour

    @property
    def console(self) -> Path:
        """What the machine's console said."""
        return self.host.dir / "console.log"

    def leftovers(self) -> list[str]:
        return self.host.leftovers()

    # Power

    def boot(self) -> None:
        """Returns once systemd says that it has started all it was going to."""
        assert self._nspawn is None, "it runs already"
        began = time.monotonic()
        if self._booted_before:
            self.host.renew_network()
        self._booted_before = True
        for address, to in ((self.client_ip, "-4"), (self.client_ip6, "-6")):
            self.host.run("ip", to, "route", "add", "default", "via", address)
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as ready:
            at = self.host.dir / "ready"
            at.unlink(missing_ok=True)
            ready.bind(str(at))
            with self.console.open("ab") as console:
                self._nspawn = subprocess.Popen(
                    [*IN_CGROUP, str(self._cgroup), *self._command()],
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    env={**tool_env(), **NSPAWN_ENV, "NOTIFY_SOCKET": str(at)},
                    start_new_session=True,
                )
            self._wait_ready(ready, began + BOOT_TIMEOUT)
        self.boot_took = time.monotonic() - began

    def reboot(self) -> None:
        """A clean one: what runs is stopped, the disk stays, the network's state (rules, bridges) is gone."""
        self._ask_to_end("reboot", REBOOT)
        self.boot()

    def shut_down(self) -> None:
        self._ask_to_end("poweroff", 0)

    def power_cut(self) -> None:
        """Every process dies at the same moment; nothing when it is off already."""
        process, self._nspawn = self._nspawn, None
        if process is None:
            return
        (self._cgroup / "cgroup.kill").write_text("1")
        process.wait(10)
        self._ended()

    # Inside

    def argv(self, *argv: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs `argv` as the machine's root, with a plain environment."""
        assert self._nspawn is not None, "it is off"
        given = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        enter = ["nsenter", f"--target={self._leader}", *NAMESPACES, "--", "env", "-i"]
        enter += [f"{key}={value}" for key, value in given.items()]
        return [*IN_CGROUP, str(self._cgroup / "commands"), *enter, *(os.fspath(arg) for arg in argv)]

    def run(
        self,
        *argv: str | os.PathLike[str],
        stdin: bytes = b"",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program there to its end; returns its stdout, raises CommandError with its output."""
        return run(self.argv(*argv, env=env), stdin=stdin, timeout=timeout, env=tool_env())

    def shell(self, script: str, timeout: float = 60) -> str:
        """Run lines of shell, as somebody types them who stops at the first that fails."""
        return self.run("sh", "-eu", stdin=script.encode(), timeout=timeout)

    def put(self, path: str, content: str | bytes | Path, mode: int = 0o644) -> None:
        """Make a file (a Path's content, a text or bytes), and the directories to it."""
        data = content.read_bytes() if isinstance(content, Path) else content
        data = data.encode() if isinstance(data, str) else data
        self.run("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, stdin=data)

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def files(self, ignore: Sequence[str] = VOLATILE) -> dict[str, str]:
        """What is on its disk, for tests.harness.rootfs.changes."""
        return self.disk.files(ignore)

    def journal(self, unit: str | None = None) -> str:
        """The journal since it booted last."""
        which = [] if unit is None else [f"--unit={unit}"]
        return self.run("journalctl", "--no-pager", "--quiet", "--boot", "--output=short-monotonic", *which)

    def unit(self, name: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as `systemctl show` prints them."""
        text = self.run("systemctl", "show", name, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in text.splitlines())

    def docker(self, *args: str, stdin: bytes = b"", timeout: float = 60) -> str:
        return self.run("docker", *args, stdin=stdin, timeout=timeout).strip()

    def run_http(self, word: str, *options: str, port: int = 80) -> str:
        """A container whose HTTP server answers / with a line that is `word`; it dies at once if stopped."""
        command = ["sh", "-c", SERVE_HTTP.format(port=port), word]
        return self.docker("run", "-d", "--stop-signal=KILL", *options, IMAGE, *command)

    # How it is done

    def _name_it(self) -> None:
        # An identity of its own: without one systemd takes this for a first boot, and enables every unit.
        etc = self.disk.root / "etc"
        for file, text in (
            ("machine-id", f"{uuid.uuid4().hex}\n"),
            ("hostname", f"{self.host.name}\n"),
            ("hosts", f"127.0.0.1 localhost {self.host.name}\n::1 localhost\n"),
            ("resolv.conf", f"nameserver {self.client_ip}\n"),
        ):
            (etc / file).unlink(missing_ok=True)
            (etc / file).write_text(text)

    def _command(self) -> list[str]:
        # The base's own nspawn with the base's own libraries: this machine needs no systemd.
        (loader,) = (self._base / "usr/lib").glob("*-linux-gnu*/ld-linux-*.so.*")
        libraries = f"{loader.parent}:{loader.parent / 'systemd'}"
        return [
            *(str(loader), "--library-path", libraries, str(self._base / "usr/bin/systemd-nspawn")),
            *("--quiet", "--boot", "--notify-ready=yes", "--settings=no", "--register=no", "--keep-unit"),
            *(f"--directory={self.disk.root}", f"--machine={self.host.name}", "--console=read-only"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
            f"--network-namespace-path={self.host.path}",
            f"--bind={self.disk.docker}:/var/lib/docker",
            # What runc, and systemd's filters of addresses and devices, need.
            *("--capability=all", "--system-call-filter=@keyring bpf pidfd_getfd"),
        ]

    def _wait_ready(self, ready: socket.socket, deadline: float) -> None:
        assert self._nspawn is not None
        with open(os.pidfd_open(self._nspawn.pid), "rb") as ended:
            while True:
                left = max(0.0, deadline - time.monotonic())
                readable, _, _ = select.select([ready.fileno(), ended.fileno()], [], [], left)
                if ready.fileno() not in readable:
                    tail = "\n".join(self.console.read_text(errors="replace").splitlines()[-30:])
                    self.power_cut()
                    raise CommandError(f"it did not boot in {BOOT_TIMEOUT} s, or ended:\n{tail}")
                told = dict(line.partition("=")[::2] for line in ready.recv(4096).decode().splitlines())
                self._leader = int(told.get("X_NSPAWN_LEADER_PID", self._leader))
                if told.get("READY") == "1":
                    return

    def _ask_to_end(self, verb: str, status: int) -> None:
        assert self._nspawn is not None, "it is off"
        # The command may be killed by what it asks for.
        with contextlib.suppress(CommandError):
            self.run("systemctl", verb)
        found = self._nspawn.wait(BOOT_TIMEOUT)
        self._nspawn = None
        assert found == status, f"{verb}: nspawn ended with {found}, see {self.console}"
        self._ended()

    def _ended(self) -> None:
        self._leader = 0
        events = self._cgroup / "cgroup.events"
        eventually(lambda: "populated 0" in events.read_text(), 10, f"{self._cgroup} is empty")
        for child in self._cgroup.iterdir():
            if child.is_dir() and child.name != "commands":
                for folder, _, _ in os.walk(child, topdown=False):
                    os.rmdir(folder)


def _cgroup2() -> Path:
    """Where cgroup v2 is mounted, be it beside v1."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise FileNotFoundError("no cgroup v2 here")
