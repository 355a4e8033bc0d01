"""sd_notify(3): tell systemd the state of this service."""

import os
import socket


def notify(state: str) -> None:
    """Send ``state`` (``READY=1``, ``STOPPING=1``, ``STATUS=...``) to systemd, where there is one."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    if path.startswith("@"):
        path = "\0" + path[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(path)
            sock.send(state.encode())
        except OSError:
            # systemd has gone or does not listen: the registrar runs all the same.
            pass
