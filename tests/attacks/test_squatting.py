"""A local user wants to be taken for the registrar, or for Envoy's admin, while the real one restarts.

With the defaults both are Unix sockets in directories in which nobody else can make anything.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from shim.core.envoy.scrape import BURST, PER_SECOND, WHOLE_BURST, WHOLE_PAUSE
from tests.attacks.places import reachable_envoy
from tests.harness.envoy import Envoy
from tests.harness.host import Host
from tests.harness.registrar import ADMIN_PORT, API_PORT, HostRegistrar
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

NOBODY, ENVOY = 65534, 4711

# Binds what it is told, and says of each whether it could: a path, or a port of loopback.
SQUAT = """
import socket, sys
held = []
for place in sys.argv[1:]:
    family = socket.AF_INET if place.isdecimal() else socket.AF_UNIX
    sock = socket.socket(family)
    try:
        sock.bind(("127.0.0.1", int(place)) if place.isdecimal() else place)
        sock.listen()
        held.append(sock)
        print("taken", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
print("done", flush=True)
sys.stdin.read()
"""
CONNECT = """
import socket, sys
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
"""


class Defaults:
    """A registrar and an Envoy of user ENVOY as the defaults have them, but for the directories' places."""

    def __init__(self, host: Host, artifact: Path) -> None:
        self.host = host
        self.run, self.envoy_run = host.dir / "run", host.dir / "envoy-run"
        self.run.mkdir(mode=0o755)
        self.envoy_run.mkdir(mode=0o750)
        os.chown(self.envoy_run, ENVOY, ENVOY)
        self.api, self.admin = self.run / "api.sock", self.envoy_run / "admin.sock"
        settings = {
            "api_address": f"unix:{self.api}",
            "envoy_admin": f"unix:{self.admin}",
            "envoy_user": ENVOY,
        }
        self.registrar = HostRegistrar(host, artifact, f"unix://{host.dir}/none.sock", settings)
        text = self.registrar.command("bootstrap").stdout
        place = host.dir / "envoy"
        place.mkdir()
        os.chown(place, ENVOY, ENVOY)
        as_user = ["setpriv", f"--reuid={ENVOY}", f"--regid={ENVOY}", "--clear-groups"]
        self.envoy = Envoy(
            place,
            yaml.safe_load(text),
            prefix=host.argv(*as_user),
            program=reachable_envoy(host),
        )

    def as_user(self, user: int, script: str, *args: object) -> "subprocess.Popen[bytes]":
        """A Python program of that user's on the host."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return self.host.popen(
            [*become, sys.executable, "-c", script, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def squat(self, places: Sequence[object]) -> "tuple[subprocess.Popen[bytes], list[str]]":
        squatter = self.as_user(NOBODY, SQUAT, *places)
        assert squatter.stdout is not None
        return squatter, [line.decode().strip() for line in iter(squatter.stdout.readline, b"done\n")]


@pytest.fixture
def defaults(artifact: Path) -> Iterator[Defaults]:
    with Host() as host:
        yield Defaults(host, artifact)


def test_nobody_can_be_taken_for_the_registrar_or_for_envoys_admin(defaults: Defaults) -> None:
    registrar = defaults.registrar
    registrar.start()
    with defaults.envoy:
        eventually(
            lambda: "listeners" in registrar.command("status", check=False).stdout, 10, "Envoy is there"
        )
        registrar.end(signal.SIGKILL)
        defaults.api.unlink()  # as one that ends in peace does
        squatter, could = defaults.squat(
            [defaults.api, defaults.admin, defaults.run / "x", API_PORT, ADMIN_PORT]
        )
        try:
            # The registrar's old port may be had, and leads nowhere; the scraped one is Envoy's.
            assert could == ["PermissionError", "PermissionError", "PermissionError", "taken", "OSError"]
            registrar.start()
            report = json.loads(registrar.command("status", "--json", check=False).stdout)
            assert [envoy["trusted"] for envoy in report["envoys"]] == [True]
        finally:
            squatter.kill()
            squatter.wait(10)


def test_the_api_is_for_root_and_envoys_group_and_nobody_else(defaults: Defaults) -> None:
    defaults.registrar.start()
    eventually(lambda: defaults.api.stat().st_gid == ENVOY, 10, "the socket is Envoy's group's")
    found = defaults.api.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o660)
    assert defaults.as_user(ENVOY, CONNECT, defaults.api).wait(10) == 0
    assert defaults.as_user(NOBODY, CONNECT, defaults.api).wait(10) != 0
    command = [str(defaults.registrar.artifact), "status", "--config", str(defaults.registrar.config)]
    done = subprocess.run(
        defaults.host.argv("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": "/nonexistent"},
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("is for root and Envoy's group: run this as root")


def test_statistics_can_be_scraped_and_nothing_else(defaults: Defaults) -> None:
    defaults.registrar.start()
    with defaults.envoy:
        base = f"http://127.0.0.1:{ADMIN_PORT}"
        eventually(
            lambda: (
                "envoy_server_live{} 1" in defaults.host.http_get(f"{base}/stats/prometheus?usedonly").text
            ),
            10,
            "statistics are there",
        )
        assert answer_to(defaults, f"{base}/stats/prometheus") == 200
        for path in ("/", "/stats", "/config_dump", "/quitquitquit", "/stats/prometheus/x", "/ready"):
            assert answer_to(defaults, base + path) == 404, path


def answer_to(defaults: Defaults, url: str) -> int:
    """The status, once so much was not asked for just before."""
    return eventually(lambda: (found := defaults.host.http_get(url).status) != 429 and found, 20)


def test_who_asks_for_statistics_without_end_gets_them_seldom(defaults: Defaults) -> None:
    """Envoy makes them in the thread that takes in new listeners."""
    defaults.registrar.start()
    with defaults.envoy:
        url = f"http://127.0.0.1:{ADMIN_PORT}/stats/prometheus"
        for page, burst, rate in (
            (url, WHOLE_BURST, 1 / WHOLE_PAUSE),
            (f"{url}?usedonly", BURST, PER_SECOND),
        ):
            begun = time.monotonic()
            asked = [defaults.host.http_get(page).status for _ in range(60)]
            most = burst + rate * (time.monotonic() - begun + 1) + 1
            assert set(asked) == {200, 429}
            assert asked.count(200) <= most
        assert answer_to(defaults, f"{url}?usedonly") == 200


def test_a_port_that_anybody_can_take_is_warned_of(defaults: Defaults) -> None:
    defaults.registrar.config.write_text(
        yaml.safe_dump({"api_address": f"127.0.0.1:{API_PORT}", "envoy_admin": "127.0.0.1:901"})
    )
    with defaults.registrar.running():
        eventually(lambda: "serving: registrations" in defaults.registrar.log.read_text(), 20, "it serves")
    log = defaults.registrar.log.read_text()
    assert f"api_address: any user of this host can take 127.0.0.1:{API_PORT}" in log
    assert "envoy_admin: any user" not in log
