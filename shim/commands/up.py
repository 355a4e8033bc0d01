"""``envoy-docker-shim up``: the registrar and an Envoy as one supervised pair.

For hosts without an Envoy of their own.  Envoy is started again when it dies; when one is told to stop,
both do.
"""

import dataclasses
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from argparse import ArgumentParser
from pathlib import Path

import trio

from shim.commands import bootstrap
from shim.commands.common import CommandError, complain, configuration, parser
from shim.commands.configuring import Configuring
from shim.config.keys import Config
from shim.core.endpoint import Endpoint
from shim.core.envoy.access_log import FLUSH_INTERVAL_MS
from shim.core.envoy.bootstrap import DRAIN_TIME
from shim.host.bundled_envoy import BundleError, bundled_envoy
from shim.registrar import registration
from shim.registrar.main import serve, set_up_log

log = logging.getLogger("envoy-docker-shim")

# Pauses (seconds) before Envoy is started again: doubled from the first to the last.
RESTART_FIRST, RESTART_LAST = 0.2, 10.0
# An Envoy that ran this long (seconds) did not fail at its start: the pause begins at the first again.
GOOD_RUN = 30.0
# How long Envoy may take to end on SIGTERM (seconds); then it is killed.
STOP_TIMEOUT = 10.0


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "up",
        "Run the registrar and an Envoy as one supervised pair.",
        "up",
        "up --configure-docker",
        "up --envoy /usr/local/bin/envoy --concurrency 2",
    )
    made.add_argument(
        "--envoy",
        metavar="PATH",
        help="default: the one in this file, else in $PATH, else Python's envoy package",
    )
    made.add_argument("--node-id", metavar="ID", help="default: this host's name")
    made.add_argument(
        "--concurrency", metavar="N", type=int, default=0, help="Envoy's worker threads; default: one a core"
    )
    made.add_argument(
        "--configure-docker",
        action="store_true",
        help="put this file into dockerd's settings, restart Docker, and undo both at the end (as root)",
    )
    return made


def main(args: list[str]) -> int:
    """Run both until a signal.  0 then, 1 when one cannot run, 2 for bad usage."""
    options = arguments().parse_args(args)
    if options.configure_docker and os.geteuid() != 0:
        complain("up --configure-docker changes what is root's: run it as root")
        return 1
    config = configuration(options.config)
    set_up_log(config.log_level)
    try:
        envoy = find_envoy(options.envoy)
        with tempfile.TemporaryDirectory(prefix="envoy-docker-shim-") as directory:
            file = Path(directory, "envoy.yaml")
            if config.envoy_admin == Config().envoy_admin:
                # The unit's directory for it need not be there.
                config = dataclasses.replace(config, envoy_admin=Endpoint(path=f"{directory}/admin.sock"))
            file.write_text(bootstrap.text(config, options.node_id or socket.gethostname(), "docker"))
            # An absolute path: Envoy is started in another working directory.
            command = [
                str(Path(envoy).absolute()),
                "-c",
                str(file),
                "--drain-time-s",
                str(DRAIN_TIME),
                "--file-flush-interval-msec",
                str(FLUSH_INTERVAL_MS),
                "--use-dynamic-base-id",
            ]
            if options.concurrency > 0:
                command += ["--concurrency", str(options.concurrency)]
            trio.run(_pair, config, command, options.configure_docker)
    except (CommandError, registration.SocketTaken, OSError) as error:
        complain(str(error))
        return 1
    return 0


def find_envoy(given: str | None) -> str:
    """The Envoy to run: as given, the file's own, in $PATH, or in Python's.  Raises CommandError."""
    if given:
        found = shutil.which(given, path=_program_path())
        if found is None:
            raise CommandError(f"--envoy {given}: no such program")
        return found
    try:
        if bundled := bundled_envoy():
            return str(bundled)
    except BundleError as error:
        raise CommandError(str(error)) from None
    if found := shutil.which("envoy", path=_program_path()):
        return found
    if found := _packaged_envoy():
        return found
    raise CommandError("no envoy in $PATH, and no envoy package: install one, or say --envoy PATH")


def _program_path() -> str:
    """$PATH without the working directory, which any user may have written."""
    path = os.environ.get("PATH", os.defpath)
    # Not empty, which would mean the default.
    return os.pathsep.join(place for place in path.split(os.pathsep) if place.startswith("/")) or "/nowhere"


def _packaged_envoy() -> str | None:
    """The binary inside python3's `envoy` package.  This very process sees no installed packages."""
    python = shutil.which("python3", path=_program_path())
    if python is None:
        return None
    find = "from importlib.util import find_spec as f; print(*f('envoy').submodule_search_locations)"
    # With -I Python imports nothing from its working directory, from $PYTHONPATH or from the user's home.
    done = subprocess.run(
        [python, "-I", "-c", find], capture_output=True, text=True, check=False, timeout=30, cwd="/"
    )
    binary = Path(done.stdout.strip() or "/nowhere", "_bin", "envoy")
    return str(binary) if binary.is_file() else None


async def _pair(config: Config, command: list[str], configure: bool) -> None:
    configuring = Configuring(config) if configure else None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervise, command)
        if configuring:
            nursery.start_soon(configuring.run, nursery.cancel_scope)
        # Ends on a signal, and with it the pair.
        await serve(config, configuring.undo if configuring else None)
        nursery.cancel_scope.cancel()
    if configuring:
        configuring.check()


async def _supervise(command: list[str]) -> None:
    pause = RESTART_FIRST
    while True:
        started = trio.current_time()
        # Not trio's own way, which starts processes from a thread: Envoy has the kernel end it with the
        # thread that started it, and trio's end after 10 idle seconds.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/")
        log.info("Envoy started (process %d)", process.pid)
        with open(os.pidfd_open(process.pid), "rb") as ended:
            try:
                await trio.lowlevel.wait_readable(ended)
            finally:
                await _stop(process, ended.fileno())
        pause = RESTART_FIRST if trio.current_time() - started > GOOD_RUN else min(pause * 2, RESTART_LAST)
        log.error("Envoy ended with %s; started again in %.1f s", process.returncode, pause)
        await trio.sleep(pause)


async def _stop(process: "subprocess.Popen[bytes]", ended: int) -> None:
    """Returns once it is gone, whether or not it has ended by itself."""
    if process.poll() is None:
        process.terminate()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_TIMEOUT):
            await trio.lowlevel.wait_readable(ended)
    if process.poll() is None:
        process.kill()
        process.wait()
