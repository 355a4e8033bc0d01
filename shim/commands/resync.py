"""``envoy-docker-shim resync``: tell the registrar of every shim that runs on this host.

A registrar finds them by itself when it starts, if it sees the host's processes and may open their pipes.
Where it cannot (another pid namespace, no root), this command does the same from outside.
"""

import os
import socket
from argparse import ArgumentParser

from shim.commands.common import CommandError, complain, configuration, parser
from shim.host.procfs import Shim, find_shims, open_control_pipes
from shim.wire.words import ADOPT, KNOWN, OK

TIMEOUT = 5.0  # seconds for each answer of the registrar


def arguments() -> ArgumentParser:
    """Its parser."""
    return parser(
        "resync",
        "Tell the registrar of every shim that runs on this host.",
        "resync",
    )


def main(args: list[str]) -> int:
    """Replay.  0 when every shim is in, 1 when some are not, 2 for bad usage."""
    options = arguments().parse_args(args)
    config = configuration(options.config)
    counts = {OK: 0, KNOWN: 0, "failed": 0}
    for shim in find_shims():
        try:
            answer = replay(shim, config.socket)
        except (CommandError, OSError) as error:
            counts["failed"] += 1
            print(f"FAILED    {shim.binding} (process {shim.pid}): {error}")
            continue
        counts[answer] += 1
        print(f"{'restored ' if answer == OK else 'was known'} {shim.binding} (process {shim.pid})")
    found = sum(counts.values())
    print(
        f"{found} shim{'s'[: found != 1]} found: {counts[OK]} restored, {counts[KNOWN]} known already,"
        f" {counts['failed']} failed"
    )
    if not found:
        # Even so the registrar must be there: an empty host and a dead registrar are not the same.
        try:
            connect(config.socket).close()
        except CommandError as error:
            complain(str(error))
            return 1
    return 1 if counts["failed"] else 0


def replay(shim: Shim, path: str) -> str:
    """Register one shim on its behalf: OK or KNOWN.  Raises CommandError, OSError."""
    lease_fd, wake_fd = open_control_pipes(shim)
    try:
        with connect(path) as registrar:
            message = "\0".join([ADOPT, str(shim.pid), *shim.args]).encode() + b"\n"
            try:
                socket.send_fds(registrar, [message], [lease_fd, wake_fd])
            except BrokenPipeError:
                pass  # refused before it was read; the reason can be read all the same
            answer = registrar.recv(1024).decode("utf-8", "replace").strip()
    finally:
        os.close(lease_fd)
        os.close(wake_fd)
    if answer not in (OK, KNOWN):
        raise CommandError(answer or "the registrar closed the connection")
    return answer


def connect(path: str) -> socket.socket:
    """A connection to the registrar.  Raises CommandError."""
    registrar = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    registrar.settimeout(TIMEOUT)
    try:
        registrar.connect(path)
    except OSError as error:
        registrar.close()
        raise CommandError(f"no registrar on {path} ({error.strerror or error})") from None
    return registrar
